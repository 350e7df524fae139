"""What training and evaluation share: context, trainer and report of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from detbox.build import plain
from detbox.callbacks import RunContext, assemble
from detbox.console.lines import quiet, say
from detbox.registry import TRAINERS
from detbox.structures import LabelSpace
from detbox.tracking.loggers import build_loggers

if TYPE_CHECKING:
    import lightning.pytorch as pl
    from lightning.pytorch.callbacks import Callback

    from detbox.data.module import DataModule


RESULTS = (
    *("checkpoints", "metrics.csv", "curves.png", "detections.json", "pictures.jpg"),
    *("pr_curves.png", "confusion_matrix.png", "worst", "black_box.pt", "console.log"),
    "division.json",
)
"""what a run may leave in its folder"""


def context_of(
    cfg: DictConfig, data: DataModule, folder: Path, label_space: LabelSpace, *, training: bool
) -> RunContext:
    """What the callbacks may need; only a training run has loggers."""
    loggers = build_loggers(cfg.logger, folder, plain(cfg)) if training else []
    return RunContext(
        folder=folder,
        seed=cfg.seed,
        training=training,
        truth=data.val,
        label_space=label_space,
        loggers=loggers,
        before=_files(folder),
    )


def written(context: RunContext) -> list[str]:
    """What lies in the run folder since the context was made, and was not there before."""
    return [name for name, at in _files(context.folder).items() if context.before.get(name) != at]


def _files(folder: Path) -> dict[str, int]:
    """The results in a folder, and when each was last written, in nanoseconds."""
    places = {name: folder / name for name in RESULTS}
    return {name: place.stat().st_mtime_ns for name, place in places.items() if place.exists()}


def trainer_of(cfg: DictConfig, context: RunContext, *last: Callback) -> pl.Trainer:
    """The trainer with all callbacks, and behind them those that a command brings."""
    callbacks = [*assemble(cfg.callbacks, context), *last]
    quiet()  # again: whoever imports Lightning gets its handlers
    trainer: pl.Trainer = TRAINERS.build(cfg.trainer, context.folder, context.loggers, callbacks)
    return trainer


def report(trainer: pl.Trainer, context: RunContext) -> dict[str, float]:
    """Print the tables, and what this command wrote."""
    from lightning.pytorch.callbacks import ModelCheckpoint
    from rich import get_console

    from detbox.evaluation.duplicates import advice
    from detbox.evaluation.metrics import tables

    metrics = context.figures.last
    if trainer.is_global_zero:
        if metrics is not None:
            get_console().print(tables(metrics))
            if line := advice(metrics, _weights(trainer)):
                say(line)
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.best_model_score is not None:
                say(f"best AP {float(callback.best_model_score):.3f}: {callback.best_model_path}")
        say(f"{', '.join(written(context)) or 'nothing'} in {context.folder}")
    return {} if metrics is None else metrics.scalars()


def _weights(trainer: pl.Trainer) -> dict[str, float]:
    """Of the losses that the module was trained with."""
    config = getattr(trainer.lightning_module, "config", {})
    weights: dict[str, float] = config.get("criterion", {}).get("weights", {})
    return weights
