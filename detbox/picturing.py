"""Pictures of a data set with what is annotated in them, for people to look at."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from detbox.annotations.split import Split, corners
from detbox.boxes import box_scale
from detbox.data.images import Reading, UnreadableImageError, decode
from detbox.data.transforms import Display, View
from detbox.evaluation.canvas import Canvas
from detbox.evaluation.drawing import color_of, draw
from detbox.structures import Detections


def read_small(split: Split, index: int, reading: Reading, side: int) -> Tensor | None:
    """A picture (3, h, w) no longer than `side` pixels; None: it cannot be read."""
    display = Display(side, side)
    try:
        picture = decode(split.path(index), split.size(index), reading, display.size)
    except UnreadableImageError:
        return None
    return display.pixels(picture.pixels, picture.size)


def shown_scale(split: Split, display: Display) -> np.ndarray:
    """(A,) pixels of the shown picture per pixel of the object's own."""
    sizes, place = np.unique(split.sizes, axis=0, return_inverse=True)
    scales = [display.size(*size)[0] / size[0] for size in sizes.tolist()]
    own: np.ndarray = np.array(scales, dtype=np.float64)[place.reshape(-1)][split.owners()]
    return own


def annotated(
    pixels: Tensor, split: Split, index: int, names: Sequence[str], marked: Collection[int] = ()
) -> Image.Image:
    """A picture with its objects dashed, or with those that are marked solid and named.

    Args:
        pixels: (3, h, w) of any size.
        split: whose picture.
        index: position of the picture.
        names: of the classes, as pictures can show them.
        marked: positions of objects.
    """
    own = range(int(split.starts[index]), int(split.starts[index + 1]))
    scale = box_scale(torch.tensor(pixels.shape[-2:])) / box_scale(torch.tensor(split.size(index)))
    boxes = torch.from_numpy(corners(split.boxes[own.start : own.stop])) * scale
    picture = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    canvas = Canvas(picture)
    pairs = list(zip(own, boxes.tolist(), strict=True))
    for at, box in pairs:
        if at not in marked:
            canvas.dashed(box, color_of(int(split.labels[at])))
    for at, box in pairs:
        if at in marked:
            canvas.solid(box, color_of(int(split.labels[at])))
            canvas.tag(box, names[split.labels[at]], color_of(int(split.labels[at])))
    return picture


def viewed(view: View, names: Sequence[str]) -> Image.Image:
    """A view as training makes it, with its objects dashed and named."""
    boxes, labels = view.boxes.as_subclass(Tensor), view.labels.as_subclass(Tensor)
    truth = Detections(boxes, torch.ones(len(labels)), labels)
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long())
    return draw(view.image.as_subclass(Tensor), nothing, names, truth=truth)
