"""IoU-aware binary cross-entropy (Cai et al., Align-DETR, 2023), as a sum over the batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from detbox.losses.quality import class_index, matched_iou, soft_truth
from detbox.ranges import NonNegative, Share
from detbox.registry import LOSSES
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
    score = logits[index].detach().sigmoid()
    iou = matched_iou(predictions, targets, matches)
    truth = soft_truth(logits, index, (score**alpha * iou ** (1 - alpha)).clamp(min=LEAST))
    weight = torch.where(truth > 0, 1.0, logits.sigmoid() ** gamma)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return (weight * entropy).sum()
