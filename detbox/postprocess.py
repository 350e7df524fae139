"""From logits and boxes of the queries to the detections of each image."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision import ops

from detbox.boxes import to_xyxy
from detbox.registry import POSTPROCESSES
from detbox.structures import Detections, PredictionSet


class Postprocess:
    """Take the best (query, class) pairs of each image (Deformable DETR, official code).

    One query may give several detections, one per class. Boxes are not clamped to the image.

    Args:
        num_select: detections per image; fewer where there are fewer pairs.
        nms_iou: threshold of a class-agnostic suppression afterwards; None: no suppression.
    """

    def __init__(self, num_select: int = 300, nms_iou: float | None = None) -> None:
        if num_select < 1:
            raise ValueError(f"num_select must be at least 1, got {num_select}; the paper's is 300")
        if nms_iou is not None and not 0 <= nms_iou <= 1:
            raise ValueError(f"nms_iou must lie in [0, 1], got {nms_iou}; None turns it off")
        self.num_select = num_select
        self.nms_iou = nms_iou

    def __call__(self, prediction: PredictionSet, sizes: Tensor) -> list[Detections]:
        """Select and scale.

        Args:
            prediction: logits (B, Q, K) and boxes (B, Q, 4).
            sizes: (B, 2) height, width of the original images in pixels.

        Returns:
            One `Detections` per image, best first, at least in float32.
        """
        logits, boxes = _at_least_float32(prediction.logits), _at_least_float32(prediction.boxes)
        num_classes = logits.shape[-1]
        pairs = logits.sigmoid().flatten(1)  # (B, Q*K)
        scores, index = pairs.topk(min(self.num_select, pairs.shape[1]), dim=1)
        labels = index % num_classes
        height, width = sizes.to(boxes).unbind(-1)
        scale = torch.stack((width, height, width, height), -1)  # (B, 4)
        query = (index // num_classes)[..., None].expand(-1, -1, 4)
        boxes_px = to_xyxy(boxes).gather(1, query) * scale[:, None]  # (B, num_select, 4)
        detections = [Detections(*image) for image in zip(boxes_px, scores, labels, strict=True)]
        if self.nms_iou is None:
            return detections
        return [suppress(image, self.nms_iou) for image in detections]


@POSTPROCESSES.register("top")
def top(*, num_select: int = 300, nms_iou: float | None = None) -> Postprocess:
    """The `num_select` best (query, class) pairs, with class-agnostic suppression if asked for."""
    return Postprocess(num_select, nms_iou)


def suppress(detections: Detections, iou: float) -> Detections:
    """Drop each detection that overlaps a better one of any class by more than `iou`."""
    keep = ops.nms(detections.boxes, detections.scores, iou)
    return select(detections, keep)


def select(detections: Detections, keep: Tensor) -> Detections:
    """The detections at an index or under a boolean mask, (M,) or (N,)."""
    boxes, scores, labels = detections.boxes, detections.scores, detections.labels
    return Detections(boxes[keep], scores[keep], labels[keep])


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
