"""The Lightning trainer of a run, with its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import Logger

from detbox.engine.progress import ConsoleProgress
from detbox.engine.seeding import SeedEveryStep


def checkpoints(folder: Path, every_steps: int) -> list[ModelCheckpoint]:
    """`best.ckpt` by validation AP; `last.ckpt` after each validation and every so many steps.

    A file is replaced only when the new one is complete, so a killed run always leaves one.
    """
    common: dict[str, Any] = {"dirpath": folder / "checkpoints", "enable_version_counter": False}
    best = ModelCheckpoint(filename="best", monitor="val/AP", mode="max", save_last=True, **common)
    last = ModelCheckpoint(filename="last", every_n_train_steps=every_steps, **common)
    return [best, last]


def build_trainer(
    settings: Mapping[str, Any], folder: Path, loggers: Sequence[Logger], callbacks: list[Callback]
) -> pl.Trainer:
    """A trainer whose loaders shard themselves and whose console is one progress bar.

    Args:
        settings: keyword arguments of `lightning.Trainer`.
        folder: of the run.
        loggers: where figures go.
        callbacks: evaluation, checkpoints, tracking.
    """
    return pl.Trainer(
        **settings,
        default_root_dir=folder,
        logger=list(loggers),
        callbacks=[ConsoleProgress(), *callbacks],
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )


def fit_callbacks(folder: Path, seed: int, every_steps: int) -> list[Callback]:
    """What only training needs: reproducible steps and checkpoints."""
    return [SeedEveryStep(seed), *checkpoints(folder, every_steps)]
