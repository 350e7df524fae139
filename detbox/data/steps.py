"""DETR's augmentation, as DINO trains with it (Carion et al., 2020, sec. A.4), step by step.

A step is a function of a view and a random generator; its keyword-only parameters are what
`data.augment` may set. It draws from that generator alone, so a picture depends on nothing else.
"""

from __future__ import annotations

import numpy as np
from torchvision.transforms.v2 import functional as F

from detbox.data.transforms import View, Window, fitted_size, resized, window_of
from detbox.errors import SettingError
from detbox.ranges import Count, Share, ShareBelowOne
from detbox.registry import AUGMENTATIONS

COCO_SIZES = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)


@AUGMENTATIONS.register("flip")
def flip(view: View, random: np.random.Generator, *, share: Share = 0.5) -> View:
    """Mirror so large a share of the pictures."""
    if random.random() >= share:
        return view
    return View(F.horizontal_flip(view.image), F.horizontal_flip(view.boxes), view.labels)


@AUGMENTATIONS.register("crop")
def crop(
    view: View,
    random: np.random.Generator,
    *,
    share: Share = 0.5,
    short_sides: tuple[Count, ...] = (400, 500, 600),
    sides: tuple[Count, ...] = (384, 600),
) -> View:
    """Resize so large a share of the pictures, and cut a window out of them.

    Boxes are clipped to the window, those outside are dropped.

    Args:
        view: a picture.
        random: to draw from.
        share: of the pictures.
        short_sides: to draw from before the cut, in pixels.
        sides: the least and the largest of the window, in pixels.
    """
    if not share:
        return view
    if len(sides) != 2 or sides[0] > sides[1]:
        raise SettingError(
            f"expected two sides of a crop in pixels, the least and the largest, got {sides}; "
            "try data.crop_sizes=[384,600], or data.crop=false"
        )
    _check_any("crop_from", short_sides)
    if random.random() >= share:
        return view
    height, width = view.image.shape[-2:]
    size = fitted_size(height, width, int(random.choice(short_sides)))
    return window_of(view, size, _window(size, sides, random))


@AUGMENTATIONS.register("resize")
def resize(
    view: View,
    random: np.random.Generator,
    *,
    short_sides: tuple[Count, ...] = COCO_SIZES,
    longest: Count = 1333,
) -> View:
    """Give pictures one of several short sides, in pixels, but no side longer than `longest`."""
    _check_any("train_sizes", short_sides)
    return resized(view, int(random.choice(short_sides)), longest)


@AUGMENTATIONS.register("jitter")
def jitter(view: View, random: np.random.Generator, *, share: ShareBelowOne = 0.2) -> View:
    """Vary brightness, contrast and saturation by that share; 0: not at all."""
    if not share:
        return view
    image = view.image
    for adjust in (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation):
        image = adjust(image, float(random.uniform(1 - share, 1 + share)))
    return view._replace(image=image)


def _window(size: tuple[int, int], sides: tuple[int, ...], random: np.random.Generator) -> Window:
    height, width = size
    low, high = sides
    new_width = int(random.integers(min(low, width), min(high, width) + 1))
    new_height = int(random.integers(min(low, height), min(high, height) + 1))
    top = int(random.integers(height - new_height + 1))
    left = int(random.integers(width - new_width + 1))
    return top, left, new_height, new_width


def _check_any(key: str, sides: tuple[int, ...]) -> None:
    if not sides:
        raise SettingError(f"data.{key} has no size; try data.{key}=[480,512]")
