"""Focal classification loss (Lin et al., ICCV 2017), as a sum over the batch."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from detbox.losses.boxes import weighted
from detbox.ranges import NonNegative, Share
from detbox.registry import LOSSES
from detbox.structures import Matches, PredictionSet, Targets


@LOSSES.register("focal", scores="sigmoid")
def focal(
    predictions: PredictionSet,
    targets: Targets,
    matches: Matches,
    *,
    alpha: Share = 0.25,
    gamma: NonNegative = 2.0,
) -> Tensor:
    """Sigmoid focal loss of all queries; unmatched ones learn background (Deformable DETR, A.4).

    Args:
        predictions: logits (B, Q, K).
        targets: labels (T,).
        matches: the pairs whose class is positive.
        alpha: weight of positives, 1 - alpha of negatives; below 0 turns the balance off.
        gamma: exponent that turns easy examples down.
    """
    truth = predictions.logits.new_zeros(predictions.logits.shape)
    ones = truth.new_ones(len(matches.query))
    truth[matches.image, matches.query, targets.labels[matches.target]] = weighted(
        ones, predictions
    )
    return sigmoid_focal(predictions.logits, truth, alpha, gamma).sum()


def sigmoid_focal(logits: Tensor, truth: Tensor, alpha: float, gamma: float) -> Tensor:
    """Focal loss of every logit against a target in [0, 1], of the shape of `logits`."""
    share = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    miss = share * (1 - truth) + (1 - share) * truth
    loss = entropy * miss**gamma
    if alpha < 0:
        return loss
    return (alpha * truth + (1 - alpha) * (1 - truth)) * loss
