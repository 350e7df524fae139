"""DETR's augmentation, as DINO trains with it, on uint8 pixels (Carion et al., 2020, sec. A.4).

Every draw comes from a generator that is passed in, so a picture depends on nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
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
        return to_cxcywh(self.boxes.as_subclass(Tensor)) / _whwh(height, width)


@dataclass(frozen=True)
class Recipe:
    """How large pictures are shown, and how they vary in training."""

    train_sizes: tuple[int, ...]
    """short sides to draw from"""
    eval_size: int
    """short side in evaluation"""
    max_size: int
    """longest side of all"""
    crop: bool
    """half of the pictures are cropped before they are resized"""
    crop_from: tuple[int, ...]
    """short sides to draw from before a crop"""
    crop_sizes: tuple[int, ...]
    """least and largest side of a crop"""
    flip: float
    """probability of a mirror image"""
    jitter: float
    """brightness, contrast and saturation vary by this share; 0: not at all"""

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be drawn from."""
        if not self.train_sizes or min(*self.train_sizes, self.eval_size, self.max_size) < 1:
            raise SettingError(
                "expected positive sizes in pixels, got "
                f"train_sizes={self.train_sizes}, eval_size={self.eval_size}, "
                f"max_size={self.max_size}; try data.train_sizes=[480,512] data.eval_size=512"
            )
        if self.crop and (len(self.crop_sizes) != 2 or not self.crop_from):
            raise SettingError(
                f"expected crop_sizes=[least,largest] and a crop_from, got {self.crop_sizes} and "
                f"{self.crop_from}; set them or data.crop=false"
            )
        if self.crop and not 1 <= self.crop_sizes[0] <= self.crop_sizes[1]:
            raise SettingError(
                f"expected crop_sizes=[least,largest] in pixels, got {self.crop_sizes}; "
                "try data.crop_sizes=[384,600]"
            )
        if not 0 <= self.flip <= 1 or not 0 <= self.jitter < 1:
            raise SettingError(f"expected shares, got flip={self.flip}, jitter={self.jitter}")


def view(pixels: Tensor, labels: Tensor, boxes: Tensor) -> View:
    """A picture (3, H, W) with labels (T,) and boxes (T, 4) cxcywh as share of it."""
    height, width = pixels.shape[-2:]
    corners = to_xyxy(boxes) * _whwh(height, width)
    return View(tv_tensors.Image(pixels), _boxes(corners, height, width), labels)


def augment(view: View, recipe: Recipe, random: np.random.Generator) -> View:
    """Flip, crop and resize at random, as for training."""
    if random.random() < recipe.flip:
        image, boxes = F.horizontal_flip(view.image), F.horizontal_flip(view.boxes)
        view = View(image, boxes, view.labels)
    if recipe.crop and random.random() < 0.5:
        view = _resize(view, int(random.choice(recipe.crop_from)))
        view = _crop(view, recipe.crop_sizes, random)
    view = _resize(view, int(random.choice(recipe.train_sizes)), recipe.max_size)
    return _jitter(view, recipe.jitter, random) if recipe.jitter else view


def fit(view: View, recipe: Recipe) -> View:
    """Resize as for evaluation."""
    return _resize(view, recipe.eval_size, recipe.max_size)


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


def _resize(view: View, short: int, longest: int | None = None) -> View:
    height, width = view.image.shape[-2:]
    size = fitted_size(height, width, short, longest)
    if size == (height, width):
        return view
    # torch resizes uint8 three times as fast in channels-last strides.
    image = tv_tensors.Image(view.image[None].contiguous(memory_format=torch.channels_last)[0])
    image = F.resize(image, list(size), antialias=True)
    scale = _whwh(*size) / _whwh(height, width)
    return View(image, _boxes(view.boxes * scale, *size), view.labels)


def _crop(view: View, sides: tuple[int, ...], random: np.random.Generator) -> View:
    """Cut a window out; boxes are clipped to it, those outside are dropped."""
    height, width = view.image.shape[-2:]
    low, high = sides
    new_width = int(random.integers(min(low, width), min(high, width) + 1))
    new_height = int(random.integers(min(low, height), min(high, height) + 1))
    top = int(random.integers(height - new_height + 1))
    left = int(random.integers(width - new_width + 1))
    image = F.crop(view.image, top, left, new_height, new_width)
    corners = view.boxes.as_subclass(Tensor) - torch.tensor([left, top, left, top])
    corners = corners.clamp(min=0).minimum(_whwh(new_height, new_width))
    kept = (corners[:, 2:] > corners[:, :2]).all(1)
    return View(image, _boxes(corners[kept], new_height, new_width), view.labels[kept])


def _jitter(view: View, share: float, random: np.random.Generator) -> View:
    image = view.image
    for adjust in (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation):
        image = adjust(image, float(random.uniform(1 - share, 1 + share)))
    return view._replace(image=image)


def _boxes(corners: Tensor, height: int, width: int) -> tv_tensors.BoundingBoxes:
    return tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=(height, width))


def _whwh(height: int, width: int) -> Tensor:
    return box_scale(torch.tensor([height, width], dtype=torch.float32))
