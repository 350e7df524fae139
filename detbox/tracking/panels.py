"""An image with its true and its found boxes, in the form that W&B's viewer wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from detbox.boxes import box_scale, to_xyxy
from detbox.structures import Batch, Detections


class Panel(NamedTuple):
    """One image of a dashboard."""

    pixels: np.ndarray
    """(h, w, 3) uint8, without padding"""
    name: str
    boxes: dict[str, dict[str, Any]]
    """`ground_truth` and `prediction`: boxes as shares of the image, with class names"""


def panel(
    batch: Batch, image: int, detections: Detections, names: Sequence[str], threshold: float
) -> Panel:
    """The image at position `image` of a batch.

    Args:
        batch: with uint8 pixels.
        image: position in the batch.
        detections: of this image.
        names: class names in label order.
        threshold: least score of a detection that is shown.
    """
    true_labels, true_boxes = batch.targets.of(image)
    kept = detections.scores >= threshold
    found, scores = _shares(detections.boxes[kept], batch.sizes[image]), detections.scores[kept]
    boxes = {
        "ground_truth": _layer(to_xyxy(true_boxes), true_labels, [None] * len(true_labels), names),
        "prediction": _layer(found, detections.labels[kept], scores.tolist(), names),
    }
    pixels: np.ndarray = batch.images.unpadded(image).permute(1, 2, 0).cpu().numpy()
    return Panel(pixels, f"image_{batch.image_ids[image]}", boxes)


def _shares(boxes_px: Tensor, size: Tensor) -> Tensor:
    """Pixels of the original image -> shares of it, (N, 4); `size` is height, width."""
    return (boxes_px / box_scale(size.to(boxes_px))).clamp(0, 1)


def _layer(
    boxes_xyxy: Tensor, labels: Tensor, scores: Sequence[float | None], names: Sequence[str]
) -> dict[str, Any]:
    rows = zip(boxes_xyxy.tolist(), labels.tolist(), scores, strict=True)
    data = [_box(box, label, score, names[label]) for box, label, score in rows]
    return {"box_data": data, "class_labels": dict(enumerate(names))}


def _box(box: Sequence[float], label: int, score: float | None, name: str) -> dict[str, Any]:
    position = dict(zip(("minX", "minY", "maxX", "maxY"), box, strict=True))
    shown: dict[str, Any] = {"position": position, "class_id": label, "box_caption": name}
    if score is not None:
        shown.update(box_caption=f"{name} {score:.2f}", scores={"score": score})
    return shown
