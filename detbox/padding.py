"""Zeros on the right and below: how pictures of unequal size share a tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from detbox.structures import ImageBatch


def stacked(pictures: Sequence[Tensor]) -> ImageBatch:
    """Pictures (3, h, w) padded to the largest height and width, in channels-last strides."""
    height = max(picture.shape[1] for picture in pictures)
    width = max(picture.shape[2] for picture in pictures)
    # Channels last, as pictures are decoded: copies run along memory.
    pixels = pictures[0].new_zeros(len(pictures), height, width, 3).permute(0, 3, 1, 2)
    mask = torch.ones(len(pictures), height, width, dtype=torch.bool, device=pixels.device)
    for index, picture in enumerate(pictures):
        _, own_height, own_width = picture.shape
        pixels[index, :, :own_height, :own_width] = picture
        mask[index, :own_height, :own_width] = False
    return ImageBatch(pixels, mask)


def padded(images: ImageBatch, divisor: int, least: int) -> ImageBatch:
    """Images with more padding, which the mask knows: to multiples of the divisor, at least so."""
    right, bottom = _missing(images.mask.shape[-2:], divisor, least)
    if not (right or bottom):
        return images
    border = (0, right, 0, bottom)
    return ImageBatch(F.pad(images.pixels, border), F.pad(images.mask, border, value=True))


def enlarged(pixels: Tensor, divisor: int, least: int) -> Tensor:
    """Pixels (B, 3, H, W) alone, padded in the same way."""
    right, bottom = _missing(pixels.shape[-2:], divisor, least)
    return F.pad(pixels, (0, right, 0, bottom)) if right or bottom else pixels


def _missing(size: Sequence[int], divisor: int, least: int) -> tuple[int, int]:
    """Columns and rows up to multiples of the divisor, and to a least side."""
    height, width = (-(-max(side, least) // divisor) * divisor - side for side in size)
    return width, height
