"""The first loss or gradient that is not finite: said, kept in a file, and no step is taken on it.

A step is judged before the optimizer takes it. On a CPU that is a look at two numbers. On a GPU
the flag stays on the device, where a fused optimizer leaves its step out by itself; the host reads
it one step later, when the matcher has waited for the device anyway, so the guard waits for none.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
from lightning_utilities.core.rank_zero import rank_zero_only
from torch import Tensor
from torch.optim import Optimizer

from detbox.errors import DivergedError
from detbox.guards.bundle import NAME, Bundle, MicroBatch
from detbox.guards.draws import draws_now
from detbox.guards.flags import Later, everyone, skips_alone, step_flags
from detbox.guards.norms import NormStatistics
from detbox.guards.tracing import Trace, traced
from detbox.messages import typed
from detbox.runfile import LAST, RunCheckpoint
from detbox.structures import StepObjects

logger = logging.getLogger("detbox")


class _Step(NamedTuple):
    """An optimizer step that is still to be judged."""

    number: int
    epoch: int
    scale: float
    batches: list[MicroBatch]
    norms: list[Tensor]
    """statistics before the forward pass"""
    flags: Later


class BlackBox(pl.Callback):
    """Stop at the first loss or gradient that is not finite, or leave out so many steps.

    Args:
        folder: of the run.
        skip: steps that may be left out in the whole run, also over restarts; 0: stop at the first.
    """

    def __init__(self, folder: Path, skip: int = 0) -> None:
        self.folder = folder
        self.skip = skip
        self.skipped = 0
        self._batches: list[MicroBatch] = []
        self._losses: list[Tensor] = []
        self._pending: _Step | None = None

    def state_dict(self) -> dict[str, Any]:
        """How many steps were left out."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As a checkpoint left it."""
        self.skipped = state_dict["skipped"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From here on predictions that have diverged are this callback's."""
        pl_module.guarded = True  # type: ignore[assignment]
        self._norms = NormStatistics(pl_module)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep the batch and the random numbers that it will meet."""
        if not self._batches:
            self._before = self._norms.copied()
        self._batches.append(MicroBatch(batch, draws_now(pl_module.device)))

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        """Keep the loss, on the device."""
        self._losses.append(loss.detach())

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Judge the step that is due, or the one before."""
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        flags = step_flags(self._losses, pl_module, scaler)
        step = _Step(
            trainer.global_step + 1,
            trainer.current_epoch + 1,
            1.0 if scaler is None else float(scaler.get_scale()),
            self._batches,
            self._before,
            Later(flags),
        )
        self._batches, self._losses = [], []
        if skips_alone(optimizer):
            optimizer.found_inf = flags.amax()  # type: ignore[attr-defined]
            self._settle(trainer, pl_module)
            self._pending = step
        elif self._judge(step, trainer, pl_module):
            for parameter in pl_module.parameters():
                parameter.grad = None  # so the optimizer has nothing to do

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Leave no step of an epoch unjudged."""
        if trainer.is_last_batch:
            self._settle(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Judge the last step; what comes now is not watched."""
        self._settle(trainer, pl_module)
        pl_module.guarded = False  # type: ignore[assignment]

    def _settle(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        step, self._pending = self._pending, None
        if step is not None:
            self._judge(step, trainer, module)

    def _judge(self, step: _Step, trainer: pl.Trainer, module: pl.LightningModule) -> bool:
        """Whether a step is bad and is left out; the same on all processes.

        Raises:
            DivergedError: it is bad, and none may be left out any more.
        """
        loss, gradient = step.flags.read()
        if not loss and not gradient:
            return False
        self._norms.restore(step.norms)
        told = f"step {step.number}: the {'loss' if loss else 'gradient'} is not finite"
        if not self.skipped:
            told += self._kept(step, "loss" if loss else "gradient", trainer, module)
        if self.skipped >= self.skip:
            raise DivergedError(f"{told}; {self._advice(str(trainer.precision))}")
        self.skipped += 1
        rank_zero_only(logger.warning)(
            "%s; the step is left out, %d of callbacks.black_box.skip=%d",
            *(told, self.skipped, self.skip),
        )
        return True

    def _kept(self, step: _Step, what: str, trainer: pl.Trainer, module: pl.LightningModule) -> str:
        """Find where it began and write the bundle, on one process; gives what to say of it."""
        precision = str(trainer.precision)
        batches = _of_all_processes(step.batches)
        traces = traced(batches, module, precision, step.scale)
        self._norms.restore(step.norms)
        found = traces[-1]
        seen = everyone(found.first is not None)
        writer = seen.index(True) if any(seen) else 0
        path, told = self.folder / NAME, ""
        if trainer.global_rank == writer:
            kept = batches[len(traces) - 1 : len(traces)] if found.first else batches
            bundle = Bundle(
                *(step.number, step.epoch, writer, precision, step.scale, what),
                *(tuple(kept), found.first, _checkpoint_of(module)),
            )
            bundle.write(path)
            told = f", {_where(found)}; its batch, draws and weights are in {path}"
        texts: list[str] = everyone(told)
        return texts[writer]

    def _advice(self, precision: str) -> str:
        """What to do now."""
        last = self.folder / "checkpoints" / LAST
        path = str(self.folder / NAME)
        again = f"see it again by python tools/replay.py {typed('bundle', path)}"
        if last.is_file():
            good = f"the last good checkpoint is {last} (step {RunCheckpoint.read(last).step})"
        else:
            good = "no checkpoint was due yet"
        calmer = "" if precision == "32-true" else "trainer.precision=32-true, "
        skip = max(5, 2 * self.skip)
        return (
            f"{good}; {again}, and try {calmer}a lower optimizer.lr, or "
            f"callbacks.black_box.skip={skip} to leave such steps out"
        )


def _of_all_processes(batches: list[MicroBatch]) -> list[MicroBatch]:
    """The batches with the step's objects on all processes, so that one alone can repeat it."""
    known = batches[0].batch.step
    steps = everyone(known)
    if known is None or len(steps) == 1:
        return batches
    counts = tuple(count for each in steps for count in each.counts)
    whole = StepObjects(counts, known.batches * len(steps), whole=True)
    return [replace(each, batch=each.batch._replace(step=whole)) for each in batches]


def _checkpoint_of(module: Any) -> RunCheckpoint:
    """The weights that a module has now, with what builds it."""
    return RunCheckpoint(module.config, module.label_space, module.detector_state())


def _where(found: Trace) -> str:
    if found.first is not None:
        return f"first in {found.first}"
    largest = f", the largest in {found.largest.module}" if found.largest else ""
    return f"though that of each module is, and together they overflow{largest}"
