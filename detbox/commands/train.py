"""Train a detector, from random weights, a checkpoint's or those of a run that goes on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_utilities.core.rank_zero import rank_zero_only
from omegaconf import DictConfig

from detbox import ops
from detbox.arranging.division import FILE
from detbox.build import (
    build_data,
    build_dataset,
    build_module,
    check_settings,
    load_backbone,
    plain,
    plugins_of,
)
from detbox.commands.changes import Change, check_batches, check_resumable
from detbox.commands.dividing import as_in_run
from detbox.commands.overfitting import conclude, few_of, gate_of, gate_settings
from detbox.commands.overrides import chosen_keys, typed_keys
from detbox.commands.resuming import settings_of_run
from detbox.commands.session import context_of, report, trainer_of
from detbox.commands.table import register_command
from detbox.console.lines import say
from detbox.data.paths import absolute
from detbox.data.sampling import training_steps
from detbox.errors import SettingError
from detbox.figures import SCALARS, Result
from detbox.messages import counted, near, taken_literally
from detbox.planning import Facts, chosen_settings, with_choices
from detbox.plugins import load_plugins
from detbox.registry import ADAPTERS
from detbox.runfile import TO_RESUME, RunCheckpoint, run_file
from detbox.tracking.loggers import close_loggers

if TYPE_CHECKING:
    import lightning.pytorch as pl

    from detbox.data.module import DataModule
    from detbox.engine.module import DetectionModule


logger = logging.getLogger("detbox")


@register_command("train", data_of_ckpt=True, paths=("ckpt", "init"))
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
    run = None if cfg.ckpt is None else RunCheckpoint.read(cfg.ckpt, TO_RESUME)
    cfg = settled(_checked(cfg, run))
    _begin(cfg)
    cfg, data = _chosen_data(cfg, run)
    module = build_module(cfg, data.label_space)
    warn_of_few_queries(cfg, data)
    changed = _give_weights(module, cfg, data, run, folder)
    _adapt(module, cfg)
    _freeze_unused(module)
    context = context_of(cfg, data, folder, data.label_space, training=True)
    gates = [] if cfg.get("overfit") is None else [gate_of(context)]
    trainer = trainer_of(cfg, context, *gates)
    resumed = None if cfg.ckpt is None else run_file(cfg.ckpt, TO_RESUME)
    failed = True
    try:
        share_step(cfg, data, trainer)
        if data.repeats is not None:
            rank_zero_only(say)(data.repeats.told(data.train))
        if run is not None:
            _check_place(run, data, trainer, changed)
        _keep_division(data, folder)
        run = None  # Lightning reads it again: weights of a large detector are not kept twice
        trainer.fit(module, datamodule=data, ckpt_path=resumed, weights_only=True)
        if context.figures.promised and context.figures.last is None:  # nothing was left to do
            trainer.validate(module, data, verbose=False)
        failed = False
    finally:
        close_loggers(context.loggers, failed=failed)
    figures = report(trainer, context)
    for gate in gates:
        conclude(gate, cfg, trainer)
    return Result(figures, cfg.objective)


def _checked(cfg: DictConfig, run: RunCheckpoint | None) -> DictConfig:
    """The settings, of a run that goes on its own, once no value is left that cannot be."""
    if run is not None:
        keys = typed_keys()
        cfg = settings_of_run(run, cfg, keys) if keys else cfg
        cfg = cfg if "data.division" in keys else as_in_run(cfg, run)
    if not isinstance(cfg.seed, int) or cfg.seed < 0:
        raise SettingError(f"seed must be a whole number from 0 on, got {cfg.seed!r}")
    if cfg.objective not in SCALARS:
        raise SettingError(
            f"objective={cfg.objective}: no such figure{near(cfg.objective, SCALARS)}"
        )
    check_settings(cfg)
    return cfg


def _begin(cfg: DictConfig) -> None:
    import lightning.pytorch as pl

    ops.configure(cfg.op)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    if cfg.recipe is not None:
        rank_zero_only(say)(f"recipe {cfg.recipe}")


def _chosen_data(cfg: DictConfig, run: RunCheckpoint | None) -> tuple[DictConfig, DataModule]:
    """The data, and the settings as plan and gate want them for these data."""
    data = build_data(cfg)
    cfg = fitted_to(data, cfg, run)
    if cfg.get("overfit") is None:
        return cfg, data
    cfg = gate_settings(cfg)
    return cfg, few_of(data, cfg)


def _adapt(module: DetectionModule, cfg: DictConfig) -> None:
    from detbox.engine.trainer import SHARDED

    if cfg.get("adapter") is None:
        return
    if cfg.trainer.strategy in SHARDED:
        raise SettingError(
            f"adapter={cfg.adapter.name} merges whole weights, and trainer.strategy="
            f"{cfg.trainer.strategy} leaves each process a share; give trainer.strategy=ddp"
        )
    adapter = ADAPTERS.build(cfg.adapter, module.detector)
    module.adapt(adapter)
    rank_zero_only(say)(adapter.told)


def _freeze_unused(module: DetectionModule) -> None:
    from detbox.engine.frozen import told
    from detbox.engine.unused import freeze_unused

    if frozen := freeze_unused(module.detector):
        rank_zero_only(say)(frozen)
    if module.frozen:
        rank_zero_only(say)(told(module.detector, module.frozen))


def settled(cfg: DictConfig) -> DictConfig:
    """With absolute data paths and all plug-ins, so that its checkpoint works anywhere."""
    cfg = cfg.copy()
    cfg.data.update(taken_literally(absolute(cfg.data)))
    cfg.plugins = load_plugins(plugins_of(cfg))
    return cfg


def fitted_to(data: DataModule, cfg: DictConfig, run: RunCheckpoint | None) -> DictConfig:
    """With what the plan takes from the training pictures; a run that goes on keeps its own."""
    if cfg.get("plan") is None or data.training_split is None:
        return cfg
    facts = Facts.of(data.training_split, data.epoch_pictures)
    if run is None and cfg.init is not None:
        from detbox.conversion import start_of

        facts = facts._replace(start=start_of(cfg.init))
    chosen = chosen_settings(cfg, facts, chosen_keys(), None if run is None else run.recipe)
    if run is None:
        rank_zero_only(say)(f"plan {cfg.plan.name}, from {facts}:")
        for choice in chosen:
            rank_zero_only(say)(f"  {choice}")
    cfg = with_choices(cfg, chosen)
    found = data.dataset
    data.dataset = replace(build_dataset(cfg), read=found.read, division=found.division)
    return cfg


def warn_of_few_queries(cfg: DictConfig, data: DataModule) -> None:
    """Say where images hold more objects than the model can find."""
    queries = cfg.model.get("num_queries")
    if queries is None:
        return
    for split in (data.train, data.val):
        images, most = split.fullest(queries)
        if images:
            rank_zero_only(logger.warning)(
                "%s: %s of %d with more objects, up to %d, than the model has queries; "
                "some cannot be found: give model.num_queries=%d or more",
                *(split.source.name, counted(images, "image"), split.num_images, most, most),
            )


def share_step(cfg: DictConfig, data: DataModule, trainer: pl.Trainer) -> None:
    """Settle the batches, and say what a step learns from where that is not plain to see."""
    step = data.share(trainer.world_size, trainer.accumulate_grad_batches)
    if step.total != step.pictures or data.dataset.loading.total_batch is not None:
        rank_zero_only(say)(str(step))
    if cfg.lr_batch is None:
        return
    if advice := step.advice(cfg.optimizer.lr, round(cfg.lr_batch)):
        rank_zero_only(say)(advice)


def _give_weights(
    module: DetectionModule,
    cfg: DictConfig,
    data: DataModule,
    run: RunCheckpoint | None,
    folder: Path,
) -> list[Change]:
    """From the checkpoint to resume, from the one to start from, or of the backbone alone.

    Gives what a run that goes on is told otherwise.
    """
    from rich import get_console

    from detbox.conversion import start_from

    if run is not None and cfg.init is not None:
        raise SettingError(
            f"ckpt={cfg.ckpt} resumes a run and init={cfg.init} starts one; give one of the two"
        )
    if run is not None:
        changed = check_resumable(run, plain(cfg), data.label_space)
        run.check(module.detector)
        if changed:
            rank_zero_only(say)(f"goes on with other settings: {', '.join(map(str, changed))}")
        rank_zero_only(say)(_goes_on(run, cfg.trainer.max_epochs, folder))
        return changed
    if cfg.init is not None:
        table = start_from(module, cfg.init, cfg)
        rank_zero_only(get_console().print)(table)
    else:
        load_backbone(module, data.dataset.embedded, cfg.backbone.get("weights"))
    return []


def _check_place(
    run: RunCheckpoint, data: DataModule, trainer: pl.Trainer, changed: Sequence[Change]
) -> None:
    """Refuse a place within an epoch that would have another length."""
    pictures = data.dataset.loading.batch_size
    batches = training_steps(data.epoch_pictures, pictures, trainer.world_size)
    check_batches(run, batches, changed)


@rank_zero_only
def _keep_division(data: DataModule, folder: Path) -> None:
    """Let the run remember which picture was on which side."""
    if data.dataset.division is not None:
        data.dataset.division().write(folder / FILE)


def _goes_on(checkpoint: RunCheckpoint, max_epochs: int, folder: Path) -> str:
    if checkpoint.epochs != max_epochs:
        return f"resumed at {checkpoint.place}, in {folder}"
    done = counted(checkpoint.epochs, "epoch")
    return (
        f"all {done} are done, nothing is left to train; give a larger trainer.max_epochs to go on"
    )
