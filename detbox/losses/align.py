"""Task-alignment classification loss (Feng et al., TOOD, ICCV 2021), as a sum over the batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from detbox.losses.boxes import weighted
from detbox.losses.quality import best_of, class_index, matched_iou, soft_truth
from detbox.ranges import NonNegative
from detbox.registry import LOSSES
from detbox.structures import Matches, PredictionSet, Targets


@LOSSES.register("align", scores="sigmoid")
def align(
    predictions: PredictionSet,
    targets: Targets,
    matches: Matches,
    *,
    score_power: NonNegative = 1.0,
    iou_power: NonNegative = 6.0,
    gamma: NonNegative = 2.0,
) -> Tensor:
    """Focal cross-entropy against `score ** score_power * iou ** iou_power` (sec. 3.2).

    Each target's alignments are scaled so that the largest becomes its best IoU; with one query
    per target the class target is therefore the IoU itself.

    Args:
        predictions: logits (B, Q, K), boxes (B, Q, 4).
        targets: labels (T,), boxes (T, 4).
        matches: the pairs whose class is positive.
        score_power: how much the predicted score counts.
        iou_power: how much the IoU counts.
        gamma: exponent that turns easy examples down.
    """
    logits, index = predictions.logits, class_index(targets, matches)
    iou = matched_iou(predictions, targets, matches)
    quality = logits[index].detach().sigmoid() ** score_power * iou**iou_power
    best, best_iou = (best_of(each, matches.target, len(targets.labels)) for each in (quality, iou))
    # The official code divides by best + 1e-7, which drowns targets whose best IoU is below 0.1.
    scale = best_iou / best.clamp(min=torch.finfo(best.dtype).tiny)
    truth = soft_truth(logits, index, weighted(quality * scale, predictions))
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return ((truth - logits.sigmoid()).abs() ** gamma * entropy).sum()
