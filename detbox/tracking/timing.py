"""Where the time of a training step goes, measured from outside the module."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.hooks import RemovableHandle

from detbox.tracking.clocks import StepClock, clock_of
from detbox.tracking.steps import is_logged

PARTS = ("data", "forward", "loss", "backward_step")


class StepTimer(pl.Callback):
    """Log the mean seconds of each part of a step over the steps since the last logging step.

    A step runs from the end of the previous one to its own end and is cut at the detector's call,
    the criterion's call and the criterion's return, so the parts add up to the step:
    `time/data` (waiting for the loader, transfer), `time/forward`, `time/loss` (matching and
    losses), `time/backward_step` (backward, clipping, optimizer), and `time/images_per_second`
    over all ranks.

    On CUDA the cuts are events on the current stream: they measure the device's timeline, where
    data is what the device waits for, and the host waits for them on logging steps only. Elsewhere
    they are host times. Put it behind the other callbacks: what they do at the end of a step then
    counts as `backward_step`, not as `data`.
    """

    def __init__(self) -> None:
        self._clock: StepClock = clock_of(torch.device("cpu"))
        self._handles: list[RemovableHandle] = []
        self._stamps: list[Any] = []
        self._steps: list[list[Any]] = []
        self._images = 0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hook the detector and the criterion."""
        self._clock = clock_of(trainer.strategy.root_device)
        detector = pl_module.get_submodule("detector")
        criterion = pl_module.get_submodule("criterion")
        self._handles = [
            detector.register_forward_pre_hook(lambda *_: self._cut(1)),
            criterion.register_forward_pre_hook(lambda *_: self._cut(2)),
            criterion.register_forward_hook(lambda *_: self._cut(3)),
        ]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the first step of an epoch."""
        self._stamps = [self._clock.now()]

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop listening: validation calls the detector too."""
        self._stamps = []

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the step after a validation in mid-epoch."""
        self._stamps = [self._clock.now()]

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Close this step, start the next, and log on logging steps."""
        self._cut(4)
        if len(self._stamps) == len(PARTS) + 1:
            self._steps.append(self._stamps)
            self._images += len(batch.image_ids) * trainer.world_size
        if self._steps and is_logged(trainer, trainer.global_step):
            pl_module.log_dict(self._summary())
            self._steps, self._images = [], 0
        self._stamps = [self._clock.now()]

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove the hooks."""
        self._remove()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Remove the hooks of a fit that failed or was interrupted."""
        self._remove()

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _cut(self, position: int) -> None:
        """Add a stamp if it is the next one due: other calls of the detector do not count."""
        if len(self._stamps) == position:
            self._stamps.append(self._clock.now())

    def _summary(self) -> dict[str, float]:
        seconds = [self._clock.seconds(stamps) for stamps in self._steps]
        sums = [sum(column) for column in zip(*seconds, strict=True)]
        means = {f"time/{p}": s / len(seconds) for p, s in zip(PARTS, sums, strict=True)}
        return {**means, "time/images_per_second": self._images / max(sum(sums), 1e-9)}
