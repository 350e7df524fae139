"""Softmax classification with a class of no object (DETR, sec. 3.1)."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from detbox.ranges import NonNegative
from detbox.registry import LOSSES
from detbox.structures import Matches, Normalized, PredictionSet, Targets


@LOSSES.register("cross_entropy", scores="softmax")
def cross_entropy(
    predictions: PredictionSet,
    targets: Targets,
    matches: Matches,
    *,
    background_weight: NonNegative = 0.1,
) -> Normalized:
    """Weighted mean cross-entropy of all queries; unmatched ones learn the last class.

    Args:
        predictions: logits (B, Q, K + 1), the last column is the class of no object.
        targets: labels (T,).
        matches: the pairs whose class is the target's.
        background_weight: of queries without an object, those with one weigh 1.

    Returns:
        The weighted sum, to be divided by the sum of the weights.
    """
    logits = predictions.logits
    background = logits.shape[-1] - 1
    truth = torch.full(logits.shape[:2], background, device=logits.device)
    truth[matches.image, matches.query] = targets.labels[matches.target]
    weight = logits.new_ones(background + 1)
    weight[background] = background_weight
    total = F.cross_entropy(logits.flatten(0, 1), truth.flatten(), weight, reduction="sum")
    return Normalized(total, weight[truth].sum(), 1.0, background_weight)
