"""The Lightning trainer of a run, with its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from detbox.console.progress import ConsoleProgress
from detbox.engine.atomic import AtomicCheckpointIO
from detbox.errors import SettingError
from detbox.registry import TRAINERS


@TRAINERS.register("lightning")
def lightning(
    folder: Path,
    loggers: Sequence[Logger],
    callbacks: Sequence[Callback],
    *,
    max_epochs: int = 12,
    max_steps: int = -1,
    accelerator: Literal["auto", "cpu", "cuda", "mps", "gpu"] = "auto",
    devices: int | str = "auto",
    num_nodes: int = 1,
    strategy: str = "auto",
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true",
    gradient_clip_val: float | None = 0.1,
    accumulate_grad_batches: int = 1,
    check_val_every_n_epoch: int = 1,
    limit_train_batches: int | float | None = None,
    limit_val_batches: int | float | None = None,
    log_every_n_steps: int = 20,
    checkpoint_every_n_steps: int = 500,
    deterministic: bool = False,
    sync_batchnorm: bool = False,
) -> pl.Trainer:
    """A trainer whose loaders shard themselves and whose console is one progress bar.

    Args:
        folder: of the run.
        loggers: where figures go; none: no checkpoints either, as in a mere evaluation.
        callbacks: evaluation, tracking.
        max_epochs: passes over the training split.
        max_steps: optimizer steps; -1: as many as the epochs hold.
        accelerator: auto, cpu, cuda or mps.
        devices: how many, or auto for all.
        num_nodes: machines; a Slurm job's are found by themselves.
        strategy: auto, ddp, fsdp, ...
        precision: 32-true, bf16-mixed or 16-mixed.
        gradient_clip_val: largest norm of the whole gradient; None: not clipped.
        accumulate_grad_batches: batches per optimizer step.
        check_val_every_n_epoch: epochs from one evaluation to the next.
        limit_train_batches: batches per epoch, or a share below 1.
        limit_val_batches: batches per evaluation, or a share below 1.
        log_every_n_steps: steps from one record to the next.
        checkpoint_every_n_steps: how many steps a killed run may lose.
        deterministic: refuse operations that are not.
        sync_batchnorm: batch norms that learn see the pictures of all GPUs.

    Raises:
        SettingError: what Lightning says of settings that this machine cannot follow.
    """
    saving = checkpoints(folder, checkpoint_every_n_steps) if loggers else []
    try:
        return pl.Trainer(
            max_epochs=max_epochs,
            max_steps=max_steps,
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
            strategy=strategy,
            precision=precision,
            gradient_clip_val=gradient_clip_val,
            accumulate_grad_batches=accumulate_grad_batches,
            check_val_every_n_epoch=check_val_every_n_epoch,
            limit_train_batches=limit_train_batches,
            limit_val_batches=limit_val_batches,
            log_every_n_steps=log_every_n_steps,
            deterministic=deterministic,
            sync_batchnorm=sync_batchnorm,
            default_root_dir=folder,
            logger=list(loggers),
            callbacks=[ConsoleProgress(), *callbacks, *saving],
            plugins=[AtomicCheckpointIO()],
            enable_checkpointing=bool(saving),
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ValueError) as error:
        raise SettingError(f"trainer: {error}") from error


def checkpoints(folder: Path, every_n_steps: int) -> list[ModelCheckpoint]:
    """`best.ckpt` by validation AP; `last.ckpt` after each validation and every so many steps.

    A file is replaced only when the new one is complete, so a killed run always leaves one.
    """
    common: dict[str, Any] = {"dirpath": folder / "checkpoints", "enable_version_counter": False}
    best = ModelCheckpoint(filename="best", monitor="val/AP", mode="max", save_last=True, **common)
    last = ModelCheckpoint(filename="last", every_n_train_steps=every_n_steps, **common)
    return [best, last]
