"""Boxes on pictures, legible at any size."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from detbox.boxes import clipped
from detbox.evaluation.canvas import LIGHT, Canvas, Color
from detbox.postprocess import select
from detbox.structures import Detections


def draw(
    image: Tensor,
    detections: Detections,
    names: Sequence[str],
    *,
    threshold: float = 0.3,
    truth: Detections | None = None,
    legible_side: int = 0,
) -> Image.Image:
    """Draw detections, and on request the ground truth, onto a copy of an image.

    Detections are solid with class and score at the top; ground truth is dashed with its class at
    the bottom. A class always has the same colour. Line and font grow with the picture; boxes end
    at its edges.

    Args:
        image: (3, H, W) uint8 RGB.
        detections: best first, boxes in pixels of `image`.
        names: class names, by label.
        threshold: lowest score drawn.
        truth: boxes and labels of the ground truth; the scores are not read.
        legible_side: pixels; a picture whose sides are shorter is enlarged first, by a whole
            factor, so that text fits beside small objects.
    """
    zoom = max(1, legible_side // max(image.shape[-2:]))
    pixels = Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy())
    picture = pixels.resize((pixels.width * zoom, pixels.height * zoom), Image.Resampling.BICUBIC)
    canvas = Canvas(picture)
    seen = detections._replace(boxes=clipped(detections.boxes, (image.shape[1], image.shape[2])))
    found = _rows(select(seen, detections.scores >= threshold), zoom)
    expected = [] if truth is None else _rows(truth, zoom)
    # The best box last, so that it lies on top; its tag first, so that it has the first choice.
    for box, _, label in reversed(found):
        canvas.solid(box, color_of(label))
    for box, _, label in expected:
        canvas.dashed(box, color_of(label))
    for box, score, label in found:
        canvas.tag(box, f"{names[label]} {score:.2f}", color_of(label))
    for box, _, label in expected:
        canvas.tag(box, names[label], LIGHT, below=True)
    return picture


def contact_sheet(images: Sequence[Image.Image], columns: int, gap: int = 8) -> Image.Image:
    """Several pictures in a grid on white, each in the middle of a cell of the largest one's size.

    Raises:
        ValueError: no image, or no column.
    """
    if not images or columns < 1:
        raise ValueError(f"expected images and columns, got {len(images)} and {columns}")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    width = gap + max(image.width for image in images)
    height = gap + max(image.height for image in images)
    sheet = Image.new("RGB", (columns * width + gap, rows * height + gap), LIGHT)
    for position, image in enumerate(images):
        row, column = divmod(position, columns)
        left = column * width + (width + gap - image.width) // 2
        sheet.paste(image, (left, row * height + (height + gap - image.height) // 2))
    return sheet


def color_of(label: int) -> Color:
    """A colour that depends on the label alone; neighbouring labels lie far apart in hue."""
    hue = (0.58 + label * 0.618034) % 1  # the golden ratio never comes near a hue it has used
    lightness = (0.55, 0.68, 0.42)[label // 8 % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.85)
    return round(red * 255), round(green * 255), round(blue * 255)


def _rows(detections: Detections, zoom: int) -> list[tuple[list[float], float, int]]:
    boxes = (detections.boxes * zoom).tolist()
    return list(zip(boxes, detections.scores.tolist(), detections.labels.tolist(), strict=True))
