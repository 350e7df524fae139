"""What a plan chooses for a configuration."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from omegaconf import DictConfig, OmegaConf

from detbox.planning.facts import Choice, Facts
from detbox.registry import PLANS

Rule = Callable[[Facts, DictConfig, Collection[str]], list[Choice]]


def chosen_settings(
    cfg: DictConfig, facts: Facts, typed: Collection[str], run: DictConfig | None = None
) -> list[Choice]:
    """What `cfg.plan` chooses, without what a person typed and what the parts do not have.

    Args:
        cfg: as composed, with a plan.
        facts: of the training split.
        typed: keys of the command line.
        run: that goes on, whose values are chosen again though its pictures may be others now.
    """
    rule: Rule = PLANS.bind(cfg.plan)
    known = [
        choice
        for choice in rule(facts, cfg, typed)
        if choice.key not in typed and OmegaConf.select(cfg, choice.key) is not None
    ]
    if run is None:
        return known
    return [choice._replace(value=OmegaConf.select(run, choice.key)) for choice in known]


def with_choices(cfg: DictConfig, chosen: Sequence[Choice]) -> DictConfig:
    """A copy of the configuration that has them."""
    cfg = cfg.copy()
    for choice in chosen:
        OmegaConf.update(cfg, choice.key, choice.value)
    return cfg
