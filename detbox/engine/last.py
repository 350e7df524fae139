"""The checkpoint that a run goes on from, whatever ends it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.callbacks import Checkpoint
from torch import distributed

from detbox.messages import typed
from detbox.stopping import REQUESTS, Stopped


class LastCheckpoint(Checkpoint):
    """Save `last.ckpt` after every epoch, every so many steps or minutes, and when asked to stop.

    Ranks agree after every optimizer step, so all save the same one. A checkpoint that was made
    while an epoch's validation was due or under way says so, and the run that goes on from it
    validates first.

    Args:
        folder: of the checkpoints.
        every_n_steps: optimizer steps from one save to the next; 0: none for steps alone.
        every_minutes: the longest time of training from one save to the next.
    """

    def __init__(self, folder: Path, every_n_steps: int, every_minutes: float) -> None:
        self.path = folder / "last.ckpt"
        self.every_n_steps = every_n_steps
        self.every_minutes = every_minutes
        self._group: Any = None
        self._saved_at = time.monotonic()
        self._step = 0
        self._saved_step = -1
        self._due = False
        self._stopping = 0
        self._validation_due = False

    def state_dict(self) -> dict[str, Any]:
        """Whether the epoch's validation is still to come."""
        return {"validation_due": self._validation_due}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As a checkpoint left it."""
        self._validation_due = state_dict["validation_due"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From here on a signal waits for a step's end; make up for a validation that was due."""
        REQUESTS.install()  # over Lightning's, which would talk to other ranks from within
        REQUESTS.wait(True)
        if trainer.world_size > 1 and distributed.get_backend() != "gloo":
            self._group = distributed.new_group(backend="gloo")
        self._step, self._saved_at = trainer.global_step, time.monotonic()
        if self._validation_due:
            _validate(trainer)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save and stop where that is due, between two optimizer steps only."""
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        due, number = self._agreed(trainer, self._is_due())
        if batch_idx + 1 >= trainer.num_training_batches:
            self._due = due  # a run that goes on from here would skip the epoch's validation
        elif due or number:
            self._save(trainer)
            self._stopping = number  # at the next batch: this step's figures are not logged yet

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Stop behind the step that was saved."""
        self._stop_for(self._stopping, trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save what was due at the epoch's last step: a validation may take long."""
        if not _in_fit(trainer):
            return
        self._validation_due = True
        due, number = self._agreed(trainer, self._due)
        if due or number:
            self._save(trainer)
            self._stop_for(number, trainer)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Save and stop where that is due; all ranks have equally many batches."""
        if not _in_fit(trainer):
            return
        _, number = self._agreed(trainer, False)
        if number:
            self._save(trainer)
            self._stop_for(number, trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save with the figures; best checkpoints are written before."""
        if _in_fit(trainer):
            self._validation_due = False
            self._save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save where no validation did."""
        _, number = self._agreed(trainer, False)
        if self._saved_step != trainer.global_step:
            self._save(trainer)
        self._stop_for(number, trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """What comes now can be stopped at once; a signal that was noted is not forgotten."""
        REQUESTS.wait(False)
        self._stop_for(REQUESTS.noted or 0, trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """A run that failed ends at once when asked."""
        REQUESTS.wait(False)

    def _is_due(self) -> bool:
        steps = self.every_n_steps and self._step % self.every_n_steps == 0
        return (
            bool(steps)
            or REQUESTS.saving
            or time.monotonic() - self._saved_at >= 60 * self.every_minutes
        )

    def _agreed(self, trainer: pl.Trainer, due: bool) -> tuple[bool, int]:
        """Whether to save, and the signal to stop for, as any rank has it."""
        anyone, number = self._agree([float(due), float(REQUESTS.noted or 0)], trainer)
        return bool(anyone), int(number)

    def _agree(self, figures: list[float], trainer: pl.Trainer) -> list[float]:
        """The largest over all ranks; on the host, so that no device has to wait."""
        if trainer.world_size == 1:
            return figures
        shared = torch.tensor(figures)
        distributed.all_reduce(shared, distributed.ReduceOp.MAX, self._group)
        return shared.tolist()

    def _save(self, trainer: pl.Trainer) -> None:
        REQUESTS.saving = False
        self._due, self._saved_at, self._saved_step = False, time.monotonic(), trainer.global_step
        trainer.save_checkpoint(self.path, weights_only=False)

    def _stop_for(self, number: int, trainer: pl.Trainer) -> None:
        if not number:
            return
        place = f"in epoch {trainer.current_epoch + 1}, after step {trainer.global_step}"
        typing = (
            f"{typed('ckpt', str(self.path))} {typed('hydra.run.dir', str(self.path.parents[1]))}"
        )
        stopped = Stopped(number, f"{place}; resume with {typing}")
        environment = vars(trainer.strategy).get("cluster_environment")
        started = isinstance(environment, LightningEnvironment)
        stopped.is_first = trainer.is_global_zero
        stopped.is_follower = started and trainer.local_rank > 0
        raise stopped


def _in_fit(trainer: pl.Trainer) -> bool:
    return trainer.state.fn == "fit" and not trainer.sanity_checking


def _validate(trainer: pl.Trainer) -> None:
    """The validation of the epoch that the checkpoint ends."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    loop.restarting = False
    trainer.validating = True
    loop.run()
    trainer.training = True
    # Or the epoch would count as done, and the loop as still restarting in all that follow.
    loop._has_run = False
