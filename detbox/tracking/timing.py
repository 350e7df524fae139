"""Where the time of a training step goes, measured from outside the module."""

from __future__ import annotations

import logging
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.hooks import RemovableHandle

from detbox.tracking.clocks import StepClock, clock_of
from detbox.tracking.steps import is_logged
from detbox.tracking.waiting import LONG, Waiting, verdict

PARTS = ("data", "forward", "loss", "backward_step")

log = logging.getLogger(__name__)


class StepTimer(pl.Callback):
    """Log the mean seconds of each part of a step over the steps since the last logging step.

    A step runs from the end of the previous one to its own end and is cut at the detector's call,
    the criterion's call and the criterion's return, so the parts add up to the step:
    `time/data` (waiting for the loader, transfer), `time/forward`, `time/loss` (matching and
    losses), `time/backward_step` (backward, clipping, optimizer). Beside them there is the first
    part's share of the whole, `time/data_share`, and `time/images_per_second` over all ranks.

    A line behind an epoch says whether the run waited for its data; where it does not, the first
    such epoch alone has one. The first step of a fit, in which workers start, does not count.

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
        self._seconds: list[list[float]] = []
        self._images = 0
        self._waiting = Waiting()
        self._waits: bool | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hook the detector and the criterion."""
        self._clock = clock_of(trainer.strategy.root_device)
        self._waiting = Waiting(skipped=1)
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
        if (self._steps or self._seconds) and is_logged(trainer, trainer.global_step):
            pl_module.log_dict(self._summary())
            self._seconds, self._images = [], 0
        self._stamps = [self._clock.now()]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say whether the run waits for its data."""
        self._read()
        share, self._waiting = self._waiting.share, Waiting()
        if share is None or (share < LONG and self._waits is False):
            return
        self._waits = share >= LONG
        workers = getattr(trainer.train_dataloader, "num_workers", None)
        log.info("%s", verdict(share, workers, trainer.num_devices))

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

    def _read(self) -> None:
        """Turn stamps into seconds; the host waits for the device."""
        for stamps in self._steps:
            self._seconds.append(self._clock.seconds(stamps))
            self._waiting.add(self._seconds[-1])
        self._steps = []

    def _summary(self) -> dict[str, float]:
        self._read()
        sums = [sum(column) for column in zip(*self._seconds, strict=True)]
        means = {f"time/{p}": s / len(self._seconds) for p, s in zip(PARTS, sums, strict=True)}
        whole = max(sum(sums), 1e-9)
        share = {"time/data_share": sums[0] / whole}
        return {**means, **share, "time/images_per_second": self._images / whole}
