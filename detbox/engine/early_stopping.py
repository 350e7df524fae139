"""An end before the last epoch, where validation AP no longer rises."""

from __future__ import annotations

import logging
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping
from lightning_utilities.core.rank_zero import rank_zero_only

logger = logging.getLogger("detbox")


class StopWithoutProgress(EarlyStopping):
    """End a training when `val/AP` has not risen for so many validations, counted over restarts.

    Args:
        patience: validations in a row without a rise.
        min_delta: the least rise that counts.
    """

    def __init__(self, patience: int, min_delta: float) -> None:
        # At the validation's end: the checkpoint that is saved behind it then knows the count.
        when = {"check_on_train_epoch_end": False}
        super().__init__("val/AP", min_delta, patience, mode="max", **when)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Do not go on with a run that ended in this way."""
        if self.wait_count >= self.patience:
            self._stop(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count, and stop."""
        ends_anyway = trainer.should_stop
        super().on_validation_end(trainer, pl_module)
        if trainer.state.fn == "fit" and trainer.should_stop and not ends_anyway:
            self._stop(trainer)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As a checkpoint left it, but for the patience, which is this run's."""
        super().load_state_dict({**state_dict, "patience": self.patience})

    def _stop(self, trainer: pl.Trainer) -> None:
        trainer.should_stop = True
        rank_zero_only(logger.info)(
            "stopped early: AP has not risen above %.3f for %d validations "
            "(callbacks.early_stopping.patience=%d)",
            *(float(self.best_score), self.wait_count, self.patience),
        )
