"""A picture with its boxes in step, and how it changes its size; uint8 all the way."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from detbox.boxes import box_scale, to_cxcywh, to_xyxy

LARGE = 1 << 25
"""pixels above which pictures are made smaller as soon as may be; 100 MB as RGB"""
Window = tuple[int, int, int, int]
"""top, left, height and width in pixels"""


class View(NamedTuple):
    """A picture with its boxes in step."""

    image: tv_tensors.Image
    """(3, H, W) uint8"""
    boxes: tv_tensors.BoundingBoxes
    """(T, 4) xyxy in pixels of `image`"""
    labels: Tensor
    """(T,)"""

    def shares(self) -> Tensor:
        """Boxes as cxcywh share of the picture, (T, 4)."""
        height, width = self.image.shape[-2:]
        return to_cxcywh(self.boxes.as_subclass(Tensor)) / whwh(height, width)


def view(pixels: Tensor, labels: Tensor, boxes: Tensor) -> View:
    """A picture (3, H, W) with labels (T,) and boxes (T, 4) cxcywh as share of it."""
    height, width = pixels.shape[-2:]
    corners = to_xyxy(boxes) * whwh(height, width)
    return View(tv_tensors.Image(pixels), boxes_of(corners, height, width), labels)


class Display(NamedTuple):
    """How large pictures are shown in evaluation."""

    short: int
    """short side in pixels, where the longest allows it"""
    longest: int

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width at which a picture of that size is shown."""
        return fitted_size(height, width, self.short, self.longest)

    def fit(self, view: View, whole: tuple[int, int] | None = None) -> View:
        """Resize a picture that is to be looked at; `whole` is its size if it was read reduced."""
        return resized_to(view, self.size(*(whole or view.image.shape[-2:])))

    def pixels(self, picture: Tensor, whole: tuple[int, int] | None = None) -> Tensor:
        """The same for a picture alone, (3, H, W)."""
        bare = view(picture, torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4))
        pixels: Tensor = self.fit(bare, whole).image.as_subclass(Tensor)
        return pixels


def fitted_size(height: int, width: int, short: int, longest: int | None = None) -> tuple[int, int]:
    """Height and width with a given short side, or a smaller one so that no side is too long.

    Rounds as DETR does, but never exceeds `longest`, which DETR may do by one pixel.
    """
    ratio = max(height, width) / min(height, width)
    if longest is not None and ratio * short > longest:
        short = max(1, round(longest / ratio))
    long = max(1, int(short * max(height, width) / min(height, width)))
    long = long if longest is None else min(long, longest)
    return (short, long) if height <= width else (long, short)


def resized(view: View, short: int, longest: int | None = None) -> View:
    """A picture with another short side, as `fitted_size` has it."""
    height, width = view.image.shape[-2:]
    return resized_to(view, fitted_size(height, width, short, longest))


def resized_to(view: View, size: tuple[int, int]) -> View:
    """A picture of another height and width."""
    height, width = view.image.shape[-2:]
    if size == (height, width):
        return view
    # torch resizes uint8 three times as fast in channels-last strides.
    image = tv_tensors.Image(view.image[None].contiguous(memory_format=torch.channels_last)[0])
    image = F.resize(image, list(size), antialias=True)
    scale = whwh(*size) / whwh(height, width)
    return View(image, boxes_of(view.boxes * scale, *size), view.labels)


def window_of(view: View, size: tuple[int, int], window: Window) -> View:
    """A window of a picture that is resized to height and width `size`.

    Boxes are clipped to the window, those outside are dropped. A strip may grow by hundreds, so
    what would be large is cut out before it is enlarged; that costs as much as the window.
    """
    top, left, height, width = window
    if size[0] * size[1] <= LARGE:
        view = resized_to(view, size)
        image, boxes = F.crop(view.image, top, left, height, width), view.boxes
    else:
        image = tv_tensors.Image(_enlarged_window(view.image, size, window))
        boxes = view.boxes * (whwh(*size) / whwh(*view.image.shape[-2:]))
    corners = boxes.as_subclass(Tensor) - torch.tensor([left, top, left, top])
    corners = corners.clamp(min=0).minimum(whwh(height, width))
    kept = (corners[:, 2:] > corners[:, :2]).all(1)
    return View(image, boxes_of(corners[kept], height, width), view.labels[kept])


def _enlarged_window(picture: Tensor, size: tuple[int, int], window: Window) -> Tensor:
    """By Pillow, which resizes from fractions of pixels; torch starts at whole ones."""
    places = zip(picture.shape[-2:], size, window[:2], window[2:], strict=True)
    spans = [_source_span(*place) for place in places]
    (y0, y1, top, bottom), (x0, x1, left, right) = spans
    part = picture[:, y0:y1, x0:x1].permute(1, 2, 0).contiguous().numpy()
    shown = Image.fromarray(part).resize(
        (window[3], window[2]), Image.Resampling.BILINEAR, (left, top, right, bottom)
    )
    return torch.from_numpy(np.array(shown)).permute(2, 0, 1)


def _source_span(side: int, resized: int, start: int, length: int) -> tuple[int, int, float, float]:
    """Pixels that a window is made of, and where it begins and ends among them."""
    scale = side / resized
    begin, end = start * scale, min((start + length) * scale, side)
    margin = math.ceil(max(scale, 1.0)) + 1  # as far as the filter looks
    low, high = max(0, math.floor(begin) - margin), min(side, math.ceil(end) + margin)
    return low, high, begin - low, end - low


def boxes_of(corners: Tensor, height: int, width: int) -> tv_tensors.BoundingBoxes:
    """Boxes (T, 4) xyxy in pixels of a picture of that size."""
    return tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=(height, width))


def whwh(height: int, width: int) -> Tensor:
    """What turns shares of a picture into its pixels, (4,)."""
    return box_scale(torch.tensor([height, width], dtype=torch.float32))
