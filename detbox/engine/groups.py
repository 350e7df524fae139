"""Parameters in groups, one for each learning rate and weight decay."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from torch import nn

from detbox.engine.layer_decay import blocks_above
from detbox.errors import SettingError

NO_PATTERNS: dict[str, float] = {}


@dataclass(frozen=True)
class WeightDecay:
    """Which weight decay a parameter gets."""

    base: float = 0.0
    """where nothing else is said"""
    patterns: Mapping[str, float] | None = None
    """regular expression found in the name -> weight decay; first hit wins"""
    norms: bool = True
    """False: none on the scales and biases of norms, whatever a pattern says"""
    biases: bool = True
    """False: none on any bias, whatever a pattern says"""

    def by_name(self, module: nn.Module) -> dict[str, float]:
        """Weight decay of every parameter."""
        return {name: self._of(module, name) for name, _ in module.named_parameters()}

    def _of(self, module: nn.Module, name: str) -> float:
        owner, _, last = name.rpartition(".")
        # `endswith`: attention has its `in_proj_bias`; a table of positions is none.
        if not self.biases and last.endswith("bias"):
            return 0.0
        if not self.norms and isinstance(module.get_submodule(owner), norm_kinds()):
            return 0.0
        patterns = self.patterns or NO_PATTERNS
        return patterns.get(first_hit(patterns, name), self.base)


class _Key(NamedTuple):
    """What the parameters of a group share."""

    pattern: str
    """of the learning rate; empty: none was found"""
    depth: int
    """blocks below the backbone's end"""
    decay: float


def parameter_groups(
    module: nn.Module,
    lr: float,
    factors: Mapping[str, float],
    layer_decay: float = 1.0,
    decay: WeightDecay | None = None,
) -> list[dict[str, Any]]:
    """Trainable parameters by learning rate and weight decay, each group with their names.

    Raises:
        SettingError: `layer_decay` does not fit the backbone.
    """
    decay = decay or WeightDecay()
    patterns = {"": 1.0, **factors}
    above, decays = _blocks_above(module, layer_decay), decay.by_name(module)
    members: dict[_Key, dict[str, nn.Parameter]] = {
        _Key(each, 0, decay.base): {} for each in patterns
    }
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            key = _Key(first_hit(factors, name), above.get(name, 0), decays[name])
            members.setdefault(key, {})[name] = parameter
    return [
        {
            "params": list(chosen.values()),
            "parameter_names": list(chosen),
            "lr": lr * patterns[key.pattern] * layer_decay**key.depth,
            "weight_decay": key.decay,
            "name": _group_name(key, decay.base),
        }
        for key, chosen in members.items()
        if chosen
    ]


def check_patterns(
    setting: str, patterns: Mapping[str, float], module: nn.Module, known: Mapping[str, float]
) -> None:
    """Refuse numbers below 0, and patterns that are found nowhere.

    Args:
        setting: its key, for messages.
        patterns: regular expression -> number.
        module: whose parameters are meant.
        known: patterns that may be found nowhere, since nobody typed them.

    Raises:
        SettingError: names the pattern.
    """
    names = [name for name, _ in module.named_parameters()]
    for pattern, number in patterns.items():
        if number < 0:
            raise SettingError(f"{setting}.{pattern}={number} is negative; try 0.1")
        if pattern not in known and not any(re.search(pattern, name) for name in names):
            raise SettingError(
                f"{setting}: {pattern!r} is found in no parameter's name; "
                f"names look like {', '.join(names[:: max(1, len(names) // 4)])}"
            )


def first_hit(patterns: Mapping[str, float], name: str) -> str:
    """The first pattern found in a name, or the empty string."""
    return next((pattern for pattern in patterns if re.search(pattern, name)), "")


@cache
def norm_kinds() -> tuple[type[nn.Module], ...]:
    """Kinds of modules whose parameters are those of a norm."""
    from timm.layers import RmsNorm, RmsNorm2d, SimpleNorm, SimpleNorm2d

    return (
        *(nn.LayerNorm, nn.RMSNorm, nn.GroupNorm),
        *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
        *(RmsNorm, RmsNorm2d, SimpleNorm, SimpleNorm2d),
    )


def _blocks_above(module: nn.Module, layer_decay: float) -> dict[str, int]:
    if layer_decay == 1:
        return {}
    return blocks_above(module)


def _group_name(key: _Key, base: float) -> str:
    name = re.sub(r"\W+", "_", key.pattern).strip("_") or "base"
    name += f"_{key.depth}" if key.depth else ""
    return name if key.decay == base else f"{name}_decay_{key.decay:g}"
