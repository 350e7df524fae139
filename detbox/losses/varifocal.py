"""Varifocal classification loss (Zhang et al., VarifocalNet, CVPR 2021), as a sum."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from detbox.losses.boxes import weighted
from detbox.losses.quality import class_index, matched_iou, soft_truth
from detbox.ranges import NonNegative, Share
from detbox.registry import LOSSES
from detbox.structures import Matches, PredictionSet, Targets


@LOSSES.register("varifocal", scores="sigmoid")
def varifocal(
    predictions: PredictionSet,
    targets: Targets,
    matches: Matches,
    *,
    alpha: Share = 0.75,
    gamma: NonNegative = 2.0,
) -> Tensor:
    """Cross-entropy against the IoU: positives weigh as much as it, negatives focally (eq. 2).

    As in the official code a pair without any overlap counts as a negative.

    Args:
        predictions: logits (B, Q, K), boxes (B, Q, 4).
        targets: labels (T,), boxes (T, 4).
        matches: the pairs whose class is positive.
        alpha: weight of negatives.
        gamma: exponent that turns easy negatives down.
    """
    logits, index = predictions.logits, class_index(targets, matches)
    iou = matched_iou(predictions, targets, matches)
    truth = soft_truth(logits, index, weighted(iou, predictions))
    weight = torch.where(truth > 0, truth, alpha * logits.sigmoid() ** gamma)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return (weight * entropy).sum()
