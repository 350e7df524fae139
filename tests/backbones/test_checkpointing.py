"""Recomputing activations: the same gradients for less memory, in every family that has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from named import build
from torch import Tensor, nn

FAMILIES = {
    "resnet18": (),
    "resnet50": (),
    "resnet10t": (),
    "swin_t": (),
    "swinv2_t": (),
    "convnext_t": (),
    "convnextv2_t": (),
    "hgnetv2_b4": (),
    "pvt_v2_b2": (),
    "tf_efficientnet_lite0": (),
    "mpvit_tiny": (),
    "coat_lite_tiny": (),
    "coat_tiny": (),
    "bit_r50": (),
    "vit_s_dinov2": (),
    "vit_s_dinov3": (),
    "timm": ("backbone.model=eva02_tiny_patch14_224", "backbone.strides=[14]"),
}


def step(name: str, checkpointing: bool) -> tuple[list[Tensor], int]:
    """Maps and gradients, and the bytes that the forward pass keeps for the backward pass."""
    torch.manual_seed(0)
    options = (f"backbone.checkpointing={checkpointing}".lower(), *FAMILIES[name])
    backbone = without_dropping(build(name, *options).train())
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    pixels = torch.randn(2, 3, 64, 96)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        maps = backbone(pixels)
    held = sum(kept.values())
    sum((each * torch.randn_like(each)).sum() for each in maps).backward()
    found = [each.detach() for each in maps]
    return [*found, *(p.grad for p in backbone.parameters() if p.grad is not None)], held


def without_dropping(backbone: nn.Module) -> nn.Module:
    """Stochastic depth would draw other blocks."""
    modules: Iterator[Any] = backbone.modules()
    for module in modules:
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
    return backbone


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_stay_and_at_least_a_fifth_less_is_kept(name: str) -> None:
    plain, held = step(name, checkpointing=False)
    recomputed, held_less = step(name, checkpointing=True)
    assert held_less < 0.8 * held
    assert len(plain) == len(recomputed) > 10
    for first, second in zip(plain, recomputed, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4 * float(first.abs().max()))
