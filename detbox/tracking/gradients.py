"""The size of the gradient, as it was before clipping."""

from __future__ import annotations

import lightning.pytorch as pl
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from detbox.tracking.steps import is_logged


class GradientNorm(pl.Callback):
    """Log the L2 norm over all gradients, before clipping, as `train/grad_norm` on logging steps.

    Lightning has unscaled the gradients of fp16 by then. Under FSDP it is the norm of this rank's
    shard.
    """

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Read the gradients of the step that will be logged."""
        if not is_logged(trainer, trainer.global_step + 1):
            return
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        pl_module.log("train/grad_norm", get_total_norm(gradients))
