"""The sides of a run's pictures, for whoever goes on with it or judges it."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from lightning_utilities.core.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from detbox.arranging.division import FILE
from detbox.data.paths import absolute, names_place
from detbox.messages import literal
from detbox.runfile import RunCheckpoint

logger = logging.getLogger("detbox")

WAYS = ("val_fraction", "folds", "fold", "split_seed", "keep_alike", "pool", "division")
"""settings of the data by which pictures come on sides"""


def as_in_run(cfg: DictConfig, checkpoint: RunCheckpoint) -> DictConfig:
    """With the division that a run left in its folder, if it has one.

    Args:
        cfg: of the run, with what was typed of it.
        checkpoint: of the run.
    """
    data, file = cfg.data, checkpoint.path
    divided = any(data.get(way) is not None for way in ("val_fraction", "folds", "division"))
    if not divided or file is None:
        return cfg
    cfg = cfg.copy()
    places = (folder / FILE for folder in file.absolute().parents[:2])
    if kept := next((place for place in places if place.is_file()), None):
        cfg.data.division = literal(str(kept))
    elif not data.get("division"):
        told = (
            "%s has no %s in the folder of its run, so the pictures are divided anew: where some "
            "came or went since, it has learnt from some that validate it; give data.division=FILE"
        )
        rank_zero_only(logger.warning)(told, file, FILE)
    return cfg


def to_judge(
    run: DictConfig, cfg: DictConfig, given: Iterable[str], checkpoint: RunCheckpoint
) -> DictConfig:
    """A run's configuration with its sides, or with those that another folder has.

    Args:
        run: with what was typed of `data`.
        cfg: as composed.
        given: keys that the caller set himself.
        checkpoint: of the run.
    """
    chosen = {key.removeprefix("data.") for key in given if key.startswith("data.")}
    if names_place(cfg.data, chosen) and not _is_at_home(cfg, checkpoint):
        for way in WAYS:
            _take(way, run, cfg)
    elif chosen.isdisjoint(WAYS):
        return as_in_run(run, checkpoint)
    else:
        _take("division", run, cfg)
    return run


def _is_at_home(cfg: DictConfig, checkpoint: RunCheckpoint) -> bool:
    """Whether the pictures that were typed are in the places where the run had its own."""
    stored = checkpoint.config["data"]
    return all(stored.get(key) == place for key, place in absolute(cfg.data).items())


def _take(key: str, run: DictConfig, cfg: DictConfig) -> None:
    if key in cfg.data and key in run.data:
        value = cfg.data[key]
        OmegaConf.update(run.data, key, literal(value) if isinstance(value, str) else value)
