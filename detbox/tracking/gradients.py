"""The size of the gradient, as it was before clipping, also of each part of the detector."""

from __future__ import annotations

from collections import defaultdict

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from detbox.numerics import whole
from detbox.tracking.steps import is_logged

HEADS = {"heads", "class_head", "box_head"}
"""names of modules that score queries or refine boxes, wherever they are"""


class GradientNorm(pl.Callback):
    """Log L2 norms of the gradient before clipping on logging steps.

    `train/grad_norm` is that of all, `grad_norm/backbone` and so on are those of the detector's
    parts. Lightning has unscaled the gradients of fp16 by then.
    """

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Read the gradients of the step that will be logged."""
        if is_logged(trainer, trainer.global_step + 1):
            pl_module.log_dict(gradient_norms(pl_module))


@torch.no_grad()
def gradient_norms(module: torch.nn.Module) -> dict[str, Tensor]:
    """Name -> norm, all of one reading of the gradients."""
    named = [(name, p.grad) for name, p in module.named_parameters() if p.grad is not None]
    if not named:
        return {"train/grad_norm": torch.zeros(())}
    blocks: dict[str, list[Tensor]] = defaultdict(list)
    for (name, _), norm in zip(named, torch._foreach_norm([g for _, g in named]), strict=True):
        blocks[block_of(name)].append(norm)
    norms = {f"grad_norm/{block}": _norm(each) for block, each in blocks.items()}
    return {"train/grad_norm": _norm(list(norms.values())), **norms}


def block_of(parameter: str) -> str:
    """The part of the detector that a parameter belongs to: a slot of `Detector`, or heads."""
    parts = parameter.split(".")
    if not HEADS.isdisjoint(parts):
        return "heads"
    return parts[1] if parts[0] == "detector" and len(parts) > 2 else parts[0]


def _norm(norms: list[Tensor]) -> Tensor:
    """Of what the parts of a vector have as norms."""
    stacked = torch.stack([each.to(norms[0].device) for each in norms])
    norm: Tensor = torch.linalg.vector_norm(stacked)
    return whole(norm)
