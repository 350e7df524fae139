"""Shifted windows on maps that the window does not divide."""

from __future__ import annotations

import torch
from timm.models.swin_transformer import SwinTransformerBlock

from detbox.backbones.swin import PaddedSwinBlock, pad_before_shifting


def block(side: int, shift: int) -> SwinTransformerBlock:
    torch.manual_seed(0)
    settings = {"window_size": 4, "shift_size": shift, "always_partition": True}
    return SwinTransformerBlock(16, (side, side), num_heads=2, dynamic_mask=True, **settings).eval()


def test_opposite_borders_do_not_see_each_other() -> None:
    shifted = block(9, shift=2)
    x = torch.randn(1, 9, 9, 16)
    changed = x.clone()
    changed[:, 0] += 1  # top row
    pad_before_shifting(shifted)
    difference = (shifted(x) - shifted(changed)).abs().amax((0, 2, 3))
    assert difference[:2].min() > 0
    assert difference[2:].max() == 0


def test_maps_that_the_window_divides_are_timms() -> None:
    for shift in (0, 2):
        shifted = block(8, shift)
        x = torch.randn(2, 8, 8, 16)
        expected = shifted(x)
        pad_before_shifting(shifted)
        assert isinstance(shifted, PaddedSwinBlock)
        torch.testing.assert_close(shifted(x), expected)
