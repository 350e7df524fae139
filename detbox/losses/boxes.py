"""Losses on the boxes of matched queries, as sums over the batch."""

from __future__ import annotations

from torch import Tensor

from detbox.boxes import overlap, to_xyxy
from detbox.ranges import NonNegative
from detbox.registry import LOSSES
from detbox.structures import Matches, PredictionSet, Targets


@LOSSES.register("l1", scores=None)
def l1(predictions: PredictionSet, targets: Targets, matches: Matches) -> Tensor:
    """Sum of absolute cxcywh differences (DETR, eq. 9)."""
    boxes, truth = matched_boxes(predictions, targets, matches)
    return weighted((boxes - truth).abs().sum(-1), predictions).sum()


@LOSSES.register("giou", scores=None)
def giou(
    predictions: PredictionSet, targets: Targets, matches: Matches, *, eps: NonNegative = 1e-6
) -> Tensor:
    """Sum of 1 - GIoU (DETR, eq. 10).

    Args:
        predictions: boxes (B, Q, 4).
        targets: boxes (T, 4).
        matches: the pairs to compare.
        eps: added to IoU and GIoU denominators; DINO 1e-6, Deformable DETR 0.
    """
    boxes, truth = matched_boxes(predictions, targets, matches)
    return weighted(1 - overlap(to_xyxy(boxes), to_xyxy(truth), eps)[1], predictions).sum()


def matched_boxes(
    predictions: PredictionSet, targets: Targets, matches: Matches
) -> tuple[Tensor, Tensor]:
    """Predicted and true boxes of all pairs, each (M, 4)."""
    boxes = predictions.boxes[matches.image, matches.query]
    return boxes, targets.boxes[matches.target].to(boxes.dtype)


def weighted(values: Tensor, predictions: PredictionSet) -> Tensor:
    """A value of every pair, (M,), times how much the pair counts."""
    weights = predictions.pair_weights
    return values if weights is None else values * weights
