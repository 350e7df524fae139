"""Position-supervised classification loss (Liu et al., Stable-DINO, ICCV 2023)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from detbox.losses.boxes import weighted
from detbox.losses.quality import best_of, class_index, matched_iou
from detbox.ranges import NonNegative, Share
from detbox.registry import LOSSES
from detbox.structures import Matches, PredictionSet, Targets


@LOSSES.register("position_supervised", scores="sigmoid")
def position_supervised(
    predictions: PredictionSet,
    targets: Targets,
    matches: Matches,
    *,
    alpha: Share = 0.25,
    gamma: NonNegative = 2.0,
    score_power: NonNegative = 0.0,
    iou_power: NonNegative = 2.0,
    curve: Literal["none", "sin", "exp"] = "none",
) -> Tensor:
    """Focal loss whose positives aim at `score ** score_power * iou ** iou_power`.

    Args:
        predictions: logits (B, Q, K), boxes (B, Q, 4).
        targets: labels (T,), boxes (T, 4).
        matches: the pairs whose class is positive.
        alpha: weight of positives, 1 - alpha of negatives.
        gamma: exponent that turns easy examples down.
        score_power: how much the predicted score counts in its own target.
        iou_power: how much the IoU counts.
        curve: bends the target within [0, 1]: `sin` up, `exp` down.
    """
    index = class_index(targets, matches)
    share, score = predictions.logits.sigmoid(), predictions.logits[index]
    iou = matched_iou(predictions, targets, matches)
    truth = _bent(score.sigmoid().detach() ** score_power * iou**iou_power, curve)
    truth = weighted(raised(truth, targets, matches), predictions)
    # The official code guards log(1 - p) by 1e-8, which ends the gradient at certain logits.
    miss = -(1 - share + 1e-8).log()
    negative = (1 - alpha) * share**gamma * miss
    entropy = -truth * F.logsigmoid(score) + (1 - truth) * miss[index]
    positive = alpha * (truth - share[index]).abs() ** gamma * entropy
    return negative.index_put(index, torch.zeros_like(positive)).sum() + positive.sum()


def raised(truth: Tensor, targets: Targets, matches: Matches) -> Tensor:
    """Scale each image's class targets (M,) up until the best is 1, as the official code does."""
    images = [image for image, count in enumerate(targets.counts) for _ in range(count)]
    image = torch.tensor(images, dtype=torch.int64).to(truth.device, non_blocking=True)  # (T,)
    best = best_of(truth, image[matches.target], len(targets.counts))
    return truth * (1 / (best + 1e-8)).clamp(min=1)


def _bent(quality: Tensor, curve: str) -> Tensor:
    if curve == "sin":
        return (quality * math.pi / 2).sin()
    if curve == "exp":
        return quality.expm1() / math.expm1(1)
    return quality
