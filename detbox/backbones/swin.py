"""Shifted windows for maps that no window divides (Swin Transformer, sec. 3.2)."""

from __future__ import annotations

import torch
from timm.models.swin_transformer import SwinTransformerBlock, window_partition, window_reverse
from timm.models.swin_transformer_v2 import SwinTransformerV2Block
from torch import Tensor, nn
from torch.nn import functional as F

Block = SwinTransformerBlock | SwinTransformerV2Block


class PaddedSwinBlock(SwinTransformerBlock):
    """A Swin block that pads the map before it shifts it.

    timm shifts first; then rows that wrapped around meet those of the other border unmasked
    wherever the window does not divide the map.
    """

    def _attn(self, x: Tensor) -> Tensor:
        return _attend(self, x)


class PaddedSwinV2Block(SwinTransformerV2Block):
    """A Swin v2 block that pads the map before it shifts it."""

    def _attn(self, x: Tensor) -> Tensor:
        return _attend(self, x)


PADDED = {SwinTransformerBlock: PaddedSwinBlock, SwinTransformerV2Block: PaddedSwinV2Block}


def pad_before_shifting(model: nn.Module) -> None:
    """Let the model's Swin blocks pad the map before they shift it, in place; parameters stay."""
    for module in model.modules():
        module.__class__ = PADDED.get(type(module), type(module))


def _attend(block: Block, x: Tensor) -> Tensor:
    height, width = x.shape[1:3]
    rows, columns = block.window_size
    down, along = block.shift_size
    right, bottom = -width % columns, -height % rows
    if right or bottom:
        x = F.pad(x, (0, 0, 0, right, 0, bottom))
    padded = x.shape[1:3]
    shifted = bool(down or along)
    if shifted:
        x = torch.roll(x, (-down, -along), dims=(1, 2))
    windows = window_partition(x, block.window_size).flatten(1, 2)  # (B * windows, cells, C)
    windows = block.attn(windows, mask=_mask(block, x) if shifted else None)
    windows = windows.unflatten(1, (rows, columns))
    x = window_reverse(windows, block.window_size, *padded)
    if shifted:
        x = torch.roll(x, (down, along), dims=(1, 2))
    return x[:, :height, :width]


def _mask(block: Block, x: Tensor) -> Tensor:
    # Cells see each other only within a region that was contiguous before the shift.
    vertical, horizontal = (
        _regions(x.shape[axis + 1], block.window_size[axis], block.shift_size[axis], x.device)
        for axis in (0, 1)
    )
    region = (3 * vertical[:, None] + horizontal)[None, :, :, None]  # (1, h, w, 1)
    region = window_partition(region, block.window_size).flatten(1)  # (windows, cells)
    apart = region[:, :, None] != region[:, None, :]
    return x.new_zeros(apart.shape).masked_fill_(apart, -100.0)


def _regions(size: int, window: int, shift: int, device: torch.device) -> Tensor:
    position = torch.arange(size, device=device)
    return (position >= size - window).long() + (position >= size - shift).long()
