"""Shifted windows on maps that the window does not divide."""

from __future__ import annotations

import pytest
import torch
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.swin_transformer_v2 import SwinTransformerV2Block
from torch import nn

from detbox.backbones.swin import PADDED, pad_before_shifting

VERSIONS = (SwinTransformerBlock, SwinTransformerV2Block)


def block(version: type[nn.Module], side: int, shift: int) -> nn.Module:
    torch.manual_seed(0)
    settings = {"window_size": 4, "shift_size": shift, "always_partition": True}
    made = version(16, (side, side), num_heads=2, dynamic_mask=True, **settings).eval()
    for norm in (made.norm1, made.norm2):
        nn.init.ones_(norm.weight)
    return made


@pytest.mark.parametrize("version", VERSIONS)
def test_opposite_borders_do_not_see_each_other(version: type[nn.Module]) -> None:
    shifted = block(version, 9, shift=2)
    x = torch.randn(1, 9, 9, 16)
    changed = x.clone()
    changed[:, 0] += torch.randn(16)  # top row
    pad_before_shifting(shifted)
    difference = (shifted(x) - shifted(changed)).abs().amax((0, 2, 3))
    assert difference[:2].min() > 0
    assert difference[2:].max() == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_maps_that_the_window_divides_are_timms(version: type[nn.Module]) -> None:
    for shift in (0, 2):
        shifted = block(version, 8, shift)
        x = torch.randn(2, 8, 8, 16)
        expected = shifted(x)
        pad_before_shifting(shifted)
        assert isinstance(shifted, PADDED[version])
        torch.testing.assert_close(shifted(x), expected)
