"""A moving average of the weights, which is what gets validated and kept."""

from __future__ import annotations

from typing import Any, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from detbox.callbacks import Judged
from detbox.runfile import AVERAGED


class ExponentialAverage(WeightAveraging):
    """Average the weights after every optimizer step, exponentially (Polyak and Juditsky, 1992).

    Early in a run the decay is (1 + n) / (10 + n) after n updates, so that the average forgets the
    random start (Tarvainen and Valpola, NeurIPS 2017, use a ramp alike). Validations judge the
    average, and checkpoints hold it as the model, with the trained weights beside it to go on from.

    Args:
        decay: the largest, in [0, 1).
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=self._average)
        self.decay = decay
        self.updates = 0
        self._swapped = False

    def _average(self, averages: list[Tensor], current: list[Tensor], _: Tensor | int) -> None:
        """Move the averages; counters of batch norms are not averaged."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, current, 1 - decay)
        else:
            torch._foreach_copy_(averages, current)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Follow the module to its device, where it was not yet when it was copied."""
        assert self._average_model is not None
        self._average_model.module.to(pl_module.device).eval()
        # Torch reads the count at every update: on a GPU the host would wait for the step.
        self._average_model.n_averaged = self._average_model.n_averaged.cpu()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Update once per optimizer step, however many batches it accumulates."""
        before = self._latest_update_step
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self.updates += self._latest_update_step != before

    def trained(self) -> Judged | None:
        """The copy with the trained weights while the average is in the module, else None."""
        if self._average_model is None or not self._swapped:
            return None
        return cast("Judged", self._average_model.module)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the average in place, once there is one."""
        if trainer.state.fn == "fit" and self.updates:
            self._swap(pl_module)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the trained weights back."""
        if self._swapped:
            self._swap(pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Tell average and trained weights apart, also where a validation is stopped."""
        if self._swapped:  # in place, so what the checkpoint refers to is put right, too
            self._swap(pl_module)
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        checkpoint[AVERAGED] = self.updates

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the trained weights for whoever saves now."""

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the average as the model, also where a finished run was resumed in vain."""
        if self.updates:
            self._copy_average_to_current(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """How many updates there were."""
        return {**super().state_dict(), "updates": self.updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As a checkpoint left it."""
        super().load_state_dict(state_dict)
        self.updates = state_dict["updates"]

    def _swap(self, pl_module: pl.LightningModule) -> None:
        self._swap_models(pl_module)
        self._swapped = not self._swapped
