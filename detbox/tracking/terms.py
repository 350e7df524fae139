"""Loss terms as dashboards show them: grouped by what the prediction set is for."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from detbox.structures import StepOutputs, Term
from detbox.tracking.steps import is_logged


def dashboard_name(term: Term) -> str:
    """`loss_<section>/…/loss`: final, aux, encoder or denoising.

    Dashboards open one section per first part of a name, so the four stay apart.
    """
    layer, group = term.origin
    if term.final:
        return f"loss_final/{term.loss}"
    if layer is None:
        return f"loss_encoder/{term.loss}"
    if group == "denoise":
        return f"loss_denoising/decoder{layer}/{term.loss}"
    place = f"decoder{layer}" if group == "match" else str(term.origin)
    return f"loss_aux/{place}/{term.loss}"


class TermsLogger(pl.Callback):
    """Log the total loss and every term on logging steps, under grouped names.

    Of several processes they are those of all pictures of the step.
    """

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: StepOutputs,  # type: ignore[override]
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Log on every `log_every_n_steps`-th optimizer step."""
        if not outputs or not is_logged(trainer, trainer.global_step):
            return
        # Lightning hands the loss back divided by the accumulated batches.
        loss = outputs["loss"].detach() * trainer.accumulate_grad_batches
        terms = {dashboard_name(term): term.value for term in outputs["terms"]}
        loss, known = _mean(trainer, [loss, loss.new_tensor(float(bool(terms)))])
        pl_module.log("train/loss", loss)
        if trainer.world_size == 1 or known == 1:  # a process whose predictions diverged has none
            pl_module.log_dict(dict(zip(terms, _mean(trainer, list(terms.values())), strict=True)))


def _mean(trainer: pl.Trainer, values: list[Tensor]) -> list[Tensor]:
    """Scalars as all processes have them on average, in one exchange."""
    if trainer.world_size == 1 or not values:
        return values
    shared: Tensor = trainer.strategy.reduce(torch.stack(values), reduce_op="mean")
    return list(shared)
