"""Shifted windows for maps that no window divides (Swin Transformer, sec. 3.2)."""

from __future__ import annotations

import torch
from timm.models.swin_transformer import SwinTransformerBlock, window_partition, window_reverse
from timm.models.swin_transformer_v2 import SwinTransformerV2Block
from torch import Tensor, nn
from torch.nn import functional as F


class _PaddedWindows:
    """Attention in windows that pads the map before it shifts it.

    timm shifts first; then rows that wrapped around meet those of the other border unmasked
    wherever the window does not divide the map.
    """

    window_size: tuple[int, int]
    shift_size: tuple[int, int]
    attn: nn.Module

    def _attn(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        rows, columns = self.window_size
        down, along = self.shift_size
        right, bottom = -width % columns, -height % rows
        if right or bottom:
            x = F.pad(x, (0, 0, 0, right, 0, bottom))
        padded = x.shape[1:3]
        shifted = bool(down or along)
        if shifted:
            x = torch.roll(x, (-down, -along), dims=(1, 2))
        windows = window_partition(x, self.window_size).flatten(1, 2)  # (B * windows, cells, C)
        windows = self.attn(windows, mask=self._mask(x) if shifted else None)
        windows = windows.unflatten(1, (rows, columns))
        x = window_reverse(windows, self.window_size, *padded)
        if shifted:
            x = torch.roll(x, (down, along), dims=(1, 2))
        return x[:, :height, :width]

    def _mask(self, x: Tensor) -> Tensor:
        # Cells see each other only within a region that was contiguous before the shift.
        vertical, horizontal = (
            _regions(x.shape[axis + 1], self.window_size[axis], self.shift_size[axis], x.device)
            for axis in (0, 1)
        )
        region = (3 * vertical[:, None] + horizontal)[None, :, :, None]  # (1, h, w, 1)
        region = window_partition(region, self.window_size).flatten(1)  # (windows, cells)
        apart = region[:, :, None] != region[:, None, :]
        return x.new_zeros(apart.shape).masked_fill_(apart, -100.0)


class PaddedSwinBlock(_PaddedWindows, SwinTransformerBlock):
    """A Swin block that pads the map before it shifts it."""


class PaddedSwinV2Block(_PaddedWindows, SwinTransformerV2Block):
    """A Swin v2 block that pads the map before it shifts it."""


PADDED = {SwinTransformerBlock: PaddedSwinBlock, SwinTransformerV2Block: PaddedSwinV2Block}


def pad_before_shifting(model: nn.Module) -> None:
    """Let the model's Swin blocks pad the map before they shift it, in place; parameters stay."""
    for module in model.modules():
        module.__class__ = PADDED.get(type(module), type(module))


def _regions(size: int, window: int, shift: int, device: torch.device) -> Tensor:
    position = torch.arange(size, device=device)
    return (position >= size - window).long() + (position >= size - shift).long()
