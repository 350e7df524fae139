"""Loss terms as dashboards show them: grouped by what the prediction set is for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import lightning.pytorch as pl

from detbox.tracking.steps import is_logged

Value = TypeVar("Value")

_LAYER = re.compile(r"decoder(\d+)/match")


def group_terms(terms: Mapping[str, Value], final: str | None = None) -> dict[str, Value]:
    """Rename `set/loss` to `loss_<group>/…/loss`: final, aux, encoder or denoising.

    Dashboards open one section per first part of a name, so the four groups stay apart.

    Args:
        terms: name of the prediction set and of the loss ("decoder0/match/class") -> value.
        final: the set that inference reads ("decoder5/match"); None: the last decoder layer.
    """
    final = final or last_layer(terms)
    return {_grouped(name, final): value for name, value in terms.items()}


def last_layer(terms: Iterable[str]) -> str | None:
    """The matched set of the highest decoder layer, None where there is no decoder."""
    layers = [int(found[1]) for name in terms if (found := _LAYER.match(name))]
    return f"decoder{max(layers)}/match" if layers else None


def _grouped(name: str, final: str | None) -> str:
    prediction_set, _, loss = name.rpartition("/")
    if prediction_set == final:
        return f"loss_final/{loss}"
    if prediction_set.startswith("encoder"):
        return f"loss_encoder{prediction_set.removeprefix('encoder')}/{loss}"
    if prediction_set.endswith("/denoise"):
        return f"loss_denoising/{prediction_set.removesuffix('/denoise')}/{loss}"
    return f"loss_aux/{prediction_set.removesuffix('/match')}/{loss}"


class TermsLogger(pl.Callback):
    """Log the total loss and every term on logging steps, under grouped names.

    Reads what `training_step` returns: `{"loss": tensor, "terms": {"decoder0/match/class": …}}`.
    In a distributed run the figures are those of rank 0.

    Args:
        final: the set that inference reads; None: the last decoder layer.
    """

    def __init__(self, final: str | None = None) -> None:
        self.final = final

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Log on every `log_every_n_steps`-th optimizer step."""
        if not outputs or not is_logged(trainer, trainer.global_step):
            return
        # Lightning hands the loss back divided by the accumulated batches.
        pl_module.log("train/loss", outputs["loss"] * trainer.accumulate_grad_batches)
        pl_module.log_dict(group_terms(outputs["terms"], self.final))
