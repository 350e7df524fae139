"""Align-DETR (Cai et al., 2023): IoU-aware binary cross-entropy, and weights of candidates."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from detbox.losses.boxes import weighted
from detbox.losses.quality import class_index, matched_iou, ranks, soft_truth
from detbox.ranges import NonNegative, Positive, Share
from detbox.registry import LOSSES, PAIR_WEIGHTS
from detbox.structures import Matches, PredictionSet, Targets

LEAST = 0.01
"""least class target of a positive, as in the official code"""


@LOSSES.register("ia_bce", scores="sigmoid")
def ia_bce(
    predictions: PredictionSet,
    targets: Targets,
    matches: Matches,
    *,
    alpha: Share = 0.25,
    gamma: NonNegative = 2.0,
) -> Tensor:
    """Cross-entropy against `score ** alpha * iou ** (1 - alpha)`; negatives weigh focally.

    Args:
        predictions: logits (B, Q, K), boxes (B, Q, 4).
        targets: labels (T,), boxes (T, 4).
        matches: the pairs whose class is positive.
        alpha: how much the predicted score counts in its own target.
        gamma: exponent that turns easy negatives down.
    """
    logits, index = predictions.logits, class_index(targets, matches)
    quality = joint_quality(predictions, targets, matches, alpha)
    truth = soft_truth(logits, index, weighted(quality, predictions))
    weight = torch.where(truth > 0, 1.0, logits.sigmoid() ** gamma)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return (weight * entropy).sum()


@PAIR_WEIGHTS.register("prime", scores="sigmoid")
def prime(
    predictions: PredictionSet,
    targets: Targets,
    matches: Matches,
    *,
    alpha: Share = 0.25,
    tau: Positive = 1.5,
) -> Tensor:
    """Prime sample weighting: `exp(-rank / tau)`, (M,), where a target's best query has rank 0.

    Args:
        predictions: logits (B, Q, K), boxes (B, Q, 4).
        targets: labels (T,), boxes (T, 4).
        matches: the pairs; a target may have several.
        alpha: how much the predicted score counts in the ranking, as in `ia_bce`.
        tau: the larger, the more the others count.
    """
    quality = joint_quality(predictions, targets, matches, alpha)
    return (-ranks(quality, matches.target) / tau).exp().to(quality.dtype)


@torch.no_grad()
def joint_quality(
    predictions: PredictionSet, targets: Targets, matches: Matches, alpha: float
) -> Tensor:
    """`score ** alpha * iou ** (1 - alpha)` of every pair, (M,), at least `LEAST`."""
    score = predictions.logits[class_index(targets, matches)].sigmoid()
    iou = matched_iou(predictions, targets, matches)
    return (score**alpha * iou ** (1 - alpha)).clamp(min=LEAST)
