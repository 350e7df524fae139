"""The settings of a run that goes on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from detbox.data.paths import same_kind, with_companions
from detbox.messages import literal, taken_literally
from detbox.runfile import EACH_TIME, LAST, RunCheckpoint

DETECTORS = {"experiment", "model", "backbone"}
"""groups whose options choose among the others"""


def going_on_in(folder: Path, cfg: DictConfig) -> DictConfig:
    """The configuration of a job that `resume=auto` lets go on in its own folder.

    Args:
        folder: of the job.
        cfg: as composed.
    """
    last = folder / "checkpoints" / LAST
    if cfg.get("resume") != "auto" or not last.is_file():
        return cfg
    cfg = cfg.copy()
    cfg.ckpt, cfg.init = literal(str(last)), None
    return cfg


def settings_of_run(checkpoint: RunCheckpoint, cfg: DictConfig, typed: Iterable[str]) -> DictConfig:
    """The stored configuration with what was typed of it, so that `ckpt=RUN` alone goes on.

    Whoever types the detector, such as `model=dino`, gives all settings himself; another option,
    such as `logger=wandb`, takes the place of the run's.

    Args:
        checkpoint: of the run.
        cfg: as composed, with `ckpt`.
        typed: the keys of the command line.
    """
    keys = [key for key in typed if key.partition(".")[0] in cfg or key in DETECTORS]
    if not DETECTORS.isdisjoint(keys):
        return cfg
    run = checkpoint.recipe
    options = {key for key in keys if isinstance(cfg.get(key), DictConfig)} - {"data"}
    with open_dict(run):
        for key in cfg:
            if key in EACH_TIME or key not in run or key in options:
                run[key] = cfg[key]
        run = with_data(run, cfg, keys)
        for key in (each for each in keys if each.partition(".")[0] not in {"data", *options}):
            value = OmegaConf.select(cfg, key)
            OmegaConf.update(run, key, taken_literally(value))
    return run


def with_data(run: DictConfig, cfg: DictConfig, given: Iterable[str]) -> DictConfig:
    """A run's configuration with what the caller chose of `data`."""
    if not same_kind(run.data.name, cfg.data.name):
        run.data = cfg.data
        return run
    run.data.name = cfg.data.name
    chosen = {key.removeprefix("data.") for key in given if key.startswith("data.")}
    for key in with_companions(cfg.data, chosen):
        value = OmegaConf.select(cfg.data, key)
        OmegaConf.update(run.data, key, taken_literally(value), merge=False)
    return run
