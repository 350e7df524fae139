"""What the command line does: train, evaluate, predict, convert a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from rich import get_console

from detbox import ops
from detbox.build import build_data, build_module, load_backbone, number, plain, plugins_of
from detbox.callbacks import RunContext, assemble
from detbox.console.lines import say
from detbox.conversion import convert, start_from
from detbox.data.module import DataModule
from detbox.data.paths import absolute, with_companions
from detbox.engine.module import DetectionModule
from detbox.errors import SettingError
from detbox.evaluation.metrics import tables
from detbox.plugins import load_plugins
from detbox.predictor import find_images, load, predict_to_folder
from detbox.registry import TRAINERS
from detbox.runfile import TO_RESUME, RunCheckpoint, run_file
from detbox.structures import LabelSpace
from detbox.tracking.loggers import build_loggers, close_loggers


def train(cfg: DictConfig, folder: Path) -> dict[str, float]:
    """Train, evaluate after every epoch, and say where everything was saved.

    Args:
        cfg: as `compose` gives it.
        folder: of the run; checkpoints, metrics and detections go there.

    Returns:
        The figures of the last evaluation, for a comparison of runs.

    Raises:
        ValueError, FileNotFoundError: the data, the checkpoint or a setting cannot be used.
    """
    if not isinstance(cfg.seed, int) or cfg.seed < 0:
        raise SettingError(f"seed must be a whole number from 0 on, got {cfg.seed!r}")
    cfg = settled(cfg)
    ops.configure(cfg.op)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data = build_data(cfg)
    module = build_module(cfg, data.label_space)
    _give_weights(module, cfg, data)
    context = _context(cfg, data, folder, data.label_space, training=True)
    trainer = _trainer(cfg, context)
    resumed = None if cfg.ckpt is None else run_file(cfg.ckpt, TO_RESUME)
    failed = True
    try:
        share_step(cfg, data, trainer)
        trainer.fit(module, datamodule=data, ckpt_path=resumed, weights_only=True)
        if context.figures.promised and context.figures.last is None:  # shorter than an epoch
            trainer.validate(module, data, verbose=False)
        failed = False
    finally:
        close_loggers(context.loggers, failed=failed)
    return _report(trainer, context)


def evaluate(cfg: DictConfig, folder: Path, given: Sequence[str] = ()) -> dict[str, float]:
    """Evaluate a checkpoint on a validation split and write COCO results JSON.

    Args:
        cfg: `ckpt`, `data`, `trainer`.
        folder: where `detections.json` goes.
        given: keys that the caller set himself, such as `data.root`; the others of `data` are as
            they were in training, if the data set is of the same kind.

    Returns:
        The figures by name.

    Raises:
        ValueError, FileNotFoundError: no such checkpoint or data, or no class in common.
    """
    _require(cfg, "ckpt", "RUN/checkpoints/best.ckpt")
    ops.configure(cfg.op)
    checkpoint = RunCheckpoint.read(cfg.ckpt)
    run = with_data(OmegaConf.create(checkpoint.config), cfg, given)
    data, label_space = build_data(run), checkpoint.label_space
    context = _context(run, data, folder, label_space, training=False)
    trainer = _trainer(cfg, context)
    module = build_module(run, label_space, learns=False)
    # Not by `ckpt_path`: Lightning would ask for the callbacks that wrote the checkpoint.
    checkpoint.fill(module.detector)
    trainer.validate(module, data, verbose=False)
    return _report(trainer, context)


def predict(cfg: DictConfig, folder: Path) -> None:
    """Draw and list what a checkpoint finds in a file, a folder or a glob.

    Without `source`, in the first validation pictures of the data that it was trained on.

    Raises:
        ValueError, FileNotFoundError: no such checkpoint, or no picture to read.
    """
    _require(cfg, "ckpt", "RUN/checkpoints/best.ckpt")
    ops.configure(cfg.op)
    sources = find_images(cfg.source) if cfg.source else _validation_images(cfg.ckpt)
    predictor = load(cfg.ckpt, cfg.device)
    threshold = number("threshold", cfg.threshold)
    written = predict_to_folder(predictor, sources, folder, threshold)
    say(f"{len(written.pictures)} pictures and {written.predictions.name} in {folder}")


def convert_checkpoint(cfg: DictConfig) -> None:
    """Read an official checkpoint into detbox's own format, or write it back.

    Raises:
        ValueError, FileNotFoundError: the source cannot be read, or does not fit the settings.
    """
    _require(cfg, "source", "OFFICIAL.pth")
    target, line = convert(cfg)
    say(f"{target}: {line}")


def with_data(run: DictConfig, cfg: DictConfig, given: Sequence[str]) -> DictConfig:
    """A run's configuration with what the caller chose of `data`."""
    if run.data.name != cfg.data.name:
        run.data = cfg.data
        return run
    chosen = {key.removeprefix("data.") for key in given if key.startswith("data.")}
    for key in with_companions(cfg.data, chosen):
        OmegaConf.update(run.data, key, OmegaConf.select(cfg.data, key))
    return run


def settled(cfg: DictConfig) -> DictConfig:
    """With absolute data paths and all plug-ins, so that its checkpoint works anywhere."""
    cfg = cfg.copy()
    cfg.data.update(absolute(cfg.data))
    cfg.plugins = load_plugins(plugins_of(cfg))
    return cfg


def share_step(cfg: DictConfig, data: DataModule, trainer: pl.Trainer) -> None:
    """Settle the batches, and say what a step learns from where that is not plain to see."""
    step = data.share(trainer.world_size, trainer.accumulate_grad_batches)
    if step.total != step.pictures or data.dataset.loading.total_batch is not None:
        rank_zero_only(say)(str(step))
    if cfg.lr_batch is not None:
        lr_batch = number("lr_batch", cfg.lr_batch)
        if advice := step.advice(cfg.optimizer.lr, round(lr_batch)):
            rank_zero_only(say)(advice)


def _give_weights(module: DetectionModule, cfg: DictConfig, data: DataModule) -> None:
    """From the checkpoint to resume, from the one to start from, or of the backbone alone."""
    if cfg.ckpt is not None and cfg.init is not None:
        raise SettingError(
            f"ckpt={cfg.ckpt} resumes a run and init={cfg.init} starts one; give one of the two"
        )
    if cfg.ckpt is not None:
        checkpoint = RunCheckpoint.read(cfg.ckpt, TO_RESUME)
        checkpoint.check_resumable(plain(cfg), data.label_space)
        checkpoint.check(module.detector)
    elif cfg.init is not None:
        table = start_from(module, cfg.init, cfg)
        rank_zero_only(get_console().print)(table)
    else:
        load_backbone(module, data.dataset.embedded, cfg.backbone.get("weights"))


def _validation_images(checkpoint: str, count: int = 16) -> list[Path]:
    run = OmegaConf.create(RunCheckpoint.read(checkpoint).config)
    return build_data(run).val.paths(count)


def _require(cfg: DictConfig, key: str, example: str) -> None:
    if OmegaConf.is_missing(cfg, key):
        raise SettingError(f"{key} is missing; give {key}={example}")


def _context(
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
        save_every=cfg.trainer.get("checkpoint_every_n_steps"),
    )


def _trainer(cfg: DictConfig, context: RunContext) -> pl.Trainer:
    callbacks = assemble(cfg.callbacks, context)
    trainer: pl.Trainer = TRAINERS.build(cfg.trainer, context.folder, context.loggers, callbacks)
    return trainer


def _report(trainer: pl.Trainer, context: RunContext) -> dict[str, float]:
    """Print the tables and where everything is."""
    metrics = context.figures.last
    if trainer.is_global_zero:
        if metrics is not None:
            get_console().print(tables(metrics))
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.best_model_score is not None:
                say(f"best AP {float(callback.best_model_score):.3f}: {callback.best_model_path}")
        say(f"checkpoints, metrics, detections and pictures: {context.folder}")
    return {} if metrics is None else metrics.scalars()
