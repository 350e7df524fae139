"""A picture with its boxes in step, and how it changes its size; uint8 all the way."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from detbox.boxes import box_scale, to_cxcywh, to_xyxy
from detbox.errors import SettingError


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

    def checked(self) -> Display:
        """Itself.

        Raises:
            ValueError: a side is not positive.
        """
        if min(self) < 1:
            raise SettingError(
                f"expected positive sizes in pixels, got {self.short} and at most {self.longest}; "
                "try data.eval_size=512 data.max_size=1333"
            )
        return self

    def fit(self, view: View) -> View:
        """Resize a picture that is to be looked at."""
        return resized(view, self.short, self.longest)

    def pixels(self, picture: Tensor) -> Tensor:
        """The same for a picture alone, (3, H, W)."""
        bare = view(picture, torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4))
        pixels: Tensor = self.fit(bare).image.as_subclass(Tensor)
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
    size = fitted_size(height, width, short, longest)
    if size == (height, width):
        return view
    # torch resizes uint8 three times as fast in channels-last strides.
    image = tv_tensors.Image(view.image[None].contiguous(memory_format=torch.channels_last)[0])
    image = F.resize(image, list(size), antialias=True)
    scale = whwh(*size) / whwh(height, width)
    return View(image, boxes_of(view.boxes * scale, *size), view.labels)


def boxes_of(corners: Tensor, height: int, width: int) -> tv_tensors.BoundingBoxes:
    """Boxes (T, 4) xyxy in pixels of a picture of that size."""
    return tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=(height, width))


def whwh(height: int, width: int) -> Tensor:
    """What turns shares of a picture into its pixels, (4,)."""
    return box_scale(torch.tensor([height, width], dtype=torch.float32))
