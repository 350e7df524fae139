"""Random numbers of a step that depend on seed, step and rank alone."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch


class SeedEveryStep(pl.Callback):
    """Seed torch at the start of every training step.

    So a run that was killed and resumed draws the same denoising and dropout as one that was not,
    without any random state in the checkpoint.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start the step's random numbers; batches of one optimizer step differ too."""
        step = trainer.fit_loop.epoch_loop.total_batch_idx
        place = np.random.SeedSequence((self.seed, step, trainer.global_rank))
        torch.manual_seed(int(place.generate_state(1)[0]))
