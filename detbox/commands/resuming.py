"""The settings of a run that goes on."""

from __future__ import annotations

from collections.abc import Iterable

from omegaconf import DictConfig, OmegaConf, open_dict

from detbox.messages import literal
from detbox.runfile import EACH_TIME, TO_RESUME, RunCheckpoint


def settings_of_run(cfg: DictConfig, typed: Iterable[str]) -> DictConfig:
    """The stored configuration with what was typed of it, so that `ckpt=RUN` alone goes on.

    Whoever types an option, such as `model=dino`, gives the settings himself.

    Args:
        cfg: as composed, with `ckpt`.
        typed: the keys of the command line.
    """
    keys = [key for key in typed if not key.startswith("hydra.")]
    if any(key == "experiment" or isinstance(cfg.get(key), DictConfig) for key in keys):
        return cfg
    run = RunCheckpoint.read(cfg.ckpt, TO_RESUME).recipe
    with open_dict(run):
        for key in cfg:
            if key in EACH_TIME or key not in run:
                run[key] = cfg[key]
        for key in keys:
            value = OmegaConf.select(cfg, key)
            OmegaConf.update(run, key, literal(value) if isinstance(value, str) else value)
    return run
