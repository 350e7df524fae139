"""What a person sees while a run trains: a bar, and one line per epoch."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar

from detbox.console.bar import Bar
from detbox.console.lines import say
from detbox.console.meter import Forecast, Means, Speed, clock, memory
from detbox.messages import counted


class ConsoleProgress(ProgressBar):
    """A live bar on a terminal, plain lines elsewhere, and one line per epoch that stays.

    A line holds the loss, its final terms and the sum of the auxiliary ones, images per second of
    training and the time left for the whole run; an epoch's line holds means over the epoch, AP and
    AP50 of its validation, the highest learning rate, pictures of an optimizer step, and memory.

    Args:
        every: batches between two readings of the losses, and between two plain lines.
    """

    def __init__(self, every: int = 50) -> None:
        super().__init__()
        self.every = every
        self._enabled = True
        self._bar = Bar()
        self._speed = Speed()
        self._done = 0
        self._rate = 0.0
        self._step_pictures = 0
        self._validated = False
        self._in_epoch = False

    def disable(self) -> None:
        """Print nothing from now on; Lightning calls it on every rank but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Print again."""
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock of the whole run."""
        self._done = trainer.global_step * trainer.accumulate_grad_batches
        self._forecast = Forecast(self._done, _total_batches(trainer))

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Open the bar of an epoch; a run that resumes inside one starts behind its beginning."""
        groups = [group for each in trainer.optimizers for group in each.param_groups]
        self._rate = max((group["lr"] for group in groups), default=0.0)
        if self._in_epoch:
            return
        self._in_epoch = True
        self._epoch_start = time.perf_counter()
        self._speed, self._validated = Speed(), False
        self._epoch_means, self._recent = Means(), Means()
        if self._enabled:
            self._bar.open(_epoch(trainer), trainer.num_training_batches)
            self._bar.advance(batch_idx)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Advance, and read the losses every few batches."""
        self._done += 1
        together = len(batch.image_ids) * trainer.world_size
        self._step_pictures = together * trainer.accumulate_grad_batches
        self._speed.add(together)
        if outputs:
            loss = outputs["loss"] * trainer.accumulate_grad_batches
            self._epoch_means.add(loss, outputs["terms"])
            self._recent.add(loss, outputs["terms"])
        if not self._enabled:
            return
        self._bar.advance()
        if (batch_idx + 1) % self.every == 0:
            self._bar.tell(f"{self._recent}  {self._speed}  ETA {self._forecast.left(self._done)}")
            self._recent = Means()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Replace the bar by the epoch's line; resumed behind its last batch, there is none."""
        if not self._in_epoch:
            return
        self._in_epoch = False
        self._bar.close()
        figures = [f"{name} {value:.3f}" for name, value in self._metrics(trainer)]
        took = clock(time.perf_counter() - self._epoch_start)
        step = counted(self._step_pictures, "picture")
        how = [f"lr {self._rate:.3g}", f"{step} a step", memory(pl_module.device)]
        parts = [_epoch(trainer), str(self._epoch_means), *figures, *filter(None, how)]
        parts += [str(self._speed), took]
        if self._enabled:
            say("  ".join([*parts, f"ETA {self._forecast.left(self._done)}"]))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open a bar below the epoch's; its time is not training time."""
        if trainer.sanity_checking:
            return
        if trainer.state.fn == "fit":
            self._speed.pause()
        if self._enabled:
            self._bar.open("validation", sum(trainer.num_val_batches))

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Advance."""
        self._bar.advance()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go back to the epoch's bar."""
        if trainer.sanity_checking:
            return
        self._validated = True
        self._bar.shut()
        if trainer.state.fn == "fit":
            self._speed.resume()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Give the terminal back."""
        self._bar.close()

    def _metrics(self, trainer: pl.Trainer) -> list[tuple[str, float]]:
        """AP, AP50 with and without duplicates if this epoch had a validation, AP as trained."""
        names = {"AP": "val/AP", "AP50": "val/AP50", "with NMS": "val/AP50_nms"}
        names["raw AP"] = "val_raw/AP"
        found = {told: trainer.callback_metrics.get(name) for told, name in names.items()}
        return [(k, float(v)) for k, v in found.items() if v is not None and self._validated]


def _epoch(trainer: pl.Trainer) -> str:
    last = trainer.max_epochs
    total = f"/{last}" if last is not None and last > 0 else ""
    return f"epoch {trainer.current_epoch + 1:>{max(len(total) - 1, 0)}}{total}"


def _total_batches(trainer: pl.Trainer) -> float:
    """Batches of the whole run, whichever of `max_epochs` and `max_steps` comes first."""
    epochs = float("inf") if trainer.max_epochs in (None, -1) else trainer.max_epochs
    steps = float("inf") if trainer.max_steps == -1 else trainer.max_steps
    return min(epochs * trainer.num_training_batches, steps * trainer.accumulate_grad_batches)
