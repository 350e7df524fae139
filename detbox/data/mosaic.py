"""Four pictures in one: an augmentation step that looks at other pictures of the split."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from detbox.data.augmentation import Another
from detbox.data.transforms import View, boxes_of, window_of
from detbox.ranges import Share
from detbox.registry import AUGMENTATIONS

MIDDLE = (0.35, 0.65)
"""where the four may meet, as shares of height and width"""
Cell = tuple[int, int, int, int]
"""top, left, height and width in pixels"""


@AUGMENTATIONS.register("mosaic")
def mosaic(
    view: View,
    random: np.random.Generator,
    another: Another,
    *,
    share: Share = 0.5,
    least_visible: Share = 0.25,
) -> View:
    """Fill so large a share of the pictures with windows of themselves and of three others.

    The canvas is as large as the picture; each quarter shows a picture that covers it, at a random
    place. After YOLOv4 (Bochkovskiy et al., 2020, sec. 3.3), whose cells are not filled.

    Args:
        view: a picture.
        random: to draw from.
        another: gives a picture of the split.
        share: of the pictures.
        least_visible: share of an object's area that its window must show, or it is dropped.
    """
    if random.random() >= share:
        return view
    height, width = view.image.shape[-2:]
    if min(height, width) < 4:
        return view
    middle = random.uniform(*MIDDLE, 2) * (height, width)
    views = (view, *(another(random) for _ in range(3)))
    cells = _cells(height, width, int(middle[0]), int(middle[1]))
    parts = [
        _covering(each, cell, least_visible, random)
        for each, cell in zip(views, cells, strict=True)
    ]
    canvas = torch.empty_like(view.image.as_subclass(Tensor))
    corners = []
    for part, (top, left, h, w) in zip(parts, cells, strict=True):
        canvas[:, top : top + h, left : left + w] = part.image
        corners.append(part.boxes.as_subclass(Tensor) + torch.tensor([left, top, left, top]))
    boxes = boxes_of(torch.cat(corners), height, width)
    return View(tv_tensors.Image(canvas), boxes, torch.cat([part.labels for part in parts]))


def _cells(height: int, width: int, y: int, x: int) -> tuple[Cell, Cell, Cell, Cell]:
    below, right = height - y, width - x
    return (0, 0, y, x), (0, x, y, right), (y, 0, below, x), (y, x, below, right)


def _covering(view: View, cell: Cell, least_visible: float, random: np.random.Generator) -> View:
    """A window of a picture, as large as the cell, after the least resize that covers it."""
    _, _, height, width = cell
    own = view.image.shape[-2:]
    scale = max(height / own[0], width / own[1])
    size = (max(height, round(own[0] * scale)), max(width, round(own[1] * scale)))
    top = int(random.integers(size[0] - height + 1))
    left = int(random.integers(size[1] - width + 1))
    whole = _areas(view.boxes.as_subclass(Tensor)) * (size[0] / own[0]) * (size[1] / own[1])
    numbered = view._replace(labels=torch.arange(len(view.labels)))
    shown = window_of(numbered, size, (top, left, height, width))
    visible = _areas(shown.boxes.as_subclass(Tensor)) >= least_visible * whole[shown.labels]
    boxes = boxes_of(shown.boxes.as_subclass(Tensor)[visible], height, width)
    return View(shown.image, boxes, view.labels[shown.labels[visible]])


def _areas(corners: Tensor) -> Tensor:
    return (corners[:, 2:] - corners[:, :2]).prod(1)
