"""The Lightning trainer of a run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from detbox.errors import SettingError
from detbox.messages import counted
from detbox.ranges import Count, Endless, NonNegative, Range
from detbox.ranks import layout
from detbox.registry import TRAINERS

if TYPE_CHECKING:
    import lightning.pytorch as pl
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import Logger
    from lightning.pytorch.strategies import Strategy

logger = logging.getLogger("detbox")
_Settled = Literal["32-true", "bf16-mixed", "16-mixed"]
_Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


SHARDED = ("fsdp", "model_parallel")
"""strategies that both mean `detbox.engine.sharding`"""


@TRAINERS.register("lightning")
def lightning(
    folder: Path,
    loggers: Sequence[Logger],
    callbacks: Sequence[Callback],
    *,
    max_epochs: Endless = 12,
    max_steps: Endless = -1,
    accelerator: Literal["auto", "cpu", "cuda", "mps", "gpu"] = "auto",
    devices: int | str = "auto",
    num_nodes: Count = 1,
    strategy: str = "auto",
    precision: _Precision = "auto",
    gradient_clip_val: NonNegative | None = 0.1,
    accumulate_grad_batches: Count = 1,
    check_val_every_n_epoch: Count = 1,
    limit_train_batches: Annotated[int | float | None, Range(0, beyond_low=True)] = None,
    limit_val_batches: Annotated[int | float | None, Range(0)] = None,
    log_every_n_steps: Count = 20,
    deterministic: bool = False,
    sync_batchnorm: bool = False,
) -> pl.Trainer:
    """A trainer whose loaders shard themselves and whose console is one progress bar.

    Args:
        folder: of the run.
        loggers: where figures go.
        callbacks: in their order; without one that saves or shows progress, nothing does.
        max_epochs: passes over the training split.
        max_steps: optimizer steps; -1: as many as the epochs hold.
        accelerator: auto, cpu, cuda or mps.
        devices: how many, or auto for all; auto under torchrun for as many as it started.
        num_nodes: machines; those of torchrun are found by themselves.
        strategy: auto, ddp; fsdp: weights, gradients and optimizer state in shares; ...
        precision: 32-true, bf16-mixed or 16-mixed; auto: bf16-mixed on a GPU that computes in it,
            else 32-true. Boxes, matching and losses are in float32 at least.
        gradient_clip_val: largest norm of the whole gradient; None: not clipped.
        accumulate_grad_batches: batches per optimizer step.
        check_val_every_n_epoch: epochs from one evaluation to the next, of which the last
            epoch always has one.
        limit_train_batches: batches per epoch, or a share below 1.
        limit_val_batches: batches per evaluation, or a share below 1.
        log_every_n_steps: steps from one record to the next.
        deterministic: refuse operations that are not.
        sync_batchnorm: batch norms that learn see the pictures of all GPUs.

    Raises:
        SettingError: what Lightning says of settings that this machine cannot follow.
    """
    import lightning.pytorch as pl
    from lightning.pytorch.callbacks import Checkpoint, ProgressBar
    from lightning.pytorch.utilities.exceptions import MisconfigurationException

    from detbox.engine.atomic import AtomicCheckpointIO

    devices, num_nodes = _as_launched(devices, num_nodes)
    try:
        return pl.Trainer(
            max_epochs=max_epochs,
            max_steps=max_steps,
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
            strategy=_made(strategy, callbacks),
            precision=_chosen(precision, accelerator),
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
            callbacks=list(callbacks),
            plugins=[AtomicCheckpointIO()],
            enable_checkpointing=any(isinstance(each, Checkpoint) for each in callbacks),
            enable_progress_bar=any(isinstance(each, ProgressBar) for each in callbacks),
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        asked = f"accelerator={accelerator}, devices={devices}, strategy={strategy}"
        raise SettingError(f"trainer: {error} (got {asked})") from error


def _chosen(precision: _Precision, accelerator: str) -> _Settled:
    """What `auto` stands for on this machine."""
    if precision != "auto":
        return precision
    import torch

    wanted = accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available()
    if not wanted or not torch.cuda.is_bf16_supported(including_emulation=False):
        return "32-true"
    logger.info("trainer.precision=auto: bf16-mixed on this GPU; 32-true is float32")
    return "bf16-mixed"


def _as_launched(devices: int | str, num_nodes: int) -> tuple[int | str, int]:
    """Devices of a node and nodes, as torchrun has them where nobody says otherwise.

    On a CPU Lightning takes auto for one, and the processes would each train alone.

    Raises:
        SettingError: somebody does, and they are not what torchrun has started.
    """
    launched = layout()
    if launched is None:
        return devices, num_nodes
    nodes = launched.nodes if num_nodes == 1 else num_nodes
    if str(devices) not in ("auto", "-1", str(launched.per_node)) or nodes != launched.nodes:
        raise SettingError(
            f"torchrun started {counted(launched.per_node, 'process')} on each of "
            f"{counted(launched.nodes, 'node')}, got trainer.devices={devices} "
            f"trainer.num_nodes={num_nodes}; leave both out"
        )
    return launched.per_node, launched.nodes


def _made(strategy: str, callbacks: Sequence[Callback]) -> str | Strategy:
    """Lightning's by name, or ours.

    Raises:
        SettingError: a callback cannot work with it.
    """
    if strategy not in SHARDED:
        return strategy
    from lightning.pytorch.callbacks import WeightAveraging

    from detbox.engine.sharding import ShardedStrategy

    if any(isinstance(each, WeightAveraging) for each in callbacks):
        raise SettingError(
            f"callbacks.ema averages whole weights, and trainer.strategy={strategy} leaves each "
            "process a share of them; give trainer.strategy=ddp, or leave callbacks.ema out"
        )
    return ShardedStrategy()
