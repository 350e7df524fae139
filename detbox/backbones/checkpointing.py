"""Activations computed again in the backward pass, for less memory (Chen et al., 2016)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from detbox.errors import SettingError


class RecomputedStage(nn.Sequential):
    """Modules in a row whose activations are computed again in the backward pass."""

    def forward(self, input: Tensor) -> Tensor:
        """As `nn.Sequential`."""
        for block in self:
            input = recomputed(True, block, input)
        return input


def recomputed(checkpointing: bool, part: nn.Module, *inputs: Any) -> Any:
    """What a part makes of its inputs; with checkpointing made again in the backward pass."""
    if checkpointing and torch.is_grad_enabled():
        return checkpoint(part, *inputs, use_reentrant=False)
    return part(*inputs)


def recompute_stages(body: nn.Module, model: str) -> None:
    """Let a timm model compute its blocks again, or where it cannot its stages, in place.

    Raises:
        ValueError: it can do neither.
    """
    from timm.models import FeatureListNet

    # A stage that knows its blocks saves more than one recomputed as a whole; one that does not
    # learn keeps nothing anyway.
    inner = [part for part in body.modules() if part is not body and _learns(part)]
    stages: list[nn.Module] = [part for part in inner if hasattr(part, "grad_checkpointing")]
    rows = [part for part in body.children() if type(part) is nn.Sequential and _learns(part)]
    if not stages and isinstance(body, FeatureListNet) and rows:
        for row in rows:
            row.__class__ = RecomputedStage
        return
    if not stages and not hasattr(body, "grad_checkpointing"):
        raise SettingError(
            f"backbone.model={model} cannot compute its activations again; leave "
            "backbone.checkpointing=false"
        )
    for part in stages or [body]:
        part.grad_checkpointing = True  # type: ignore[assignment]


def _learns(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())
