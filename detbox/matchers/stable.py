"""Position-modulated matching (Liu et al., Stable-DINO, ICCV 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detbox.boxes import pairwise_overlap, to_xyxy
from detbox.matchers.cost import CostMatcher, FocalBoxCost, Matcher
from detbox.numerics import at_least_float32
from detbox.ranges import NonNegative, Share
from detbox.registry import MATCHERS
from detbox.structures import Matches, PredictionSet, Targets


class PositionModulated:
    """Ask a matcher with class probabilities that are low where the box is far.

    Args:
        matcher: reads the sigmoid of the logits.
        power: how much the position counts; 0: not at all.
        eps: added to GIoU denominators.
    """

    def __init__(self, matcher: Matcher, power: float, eps: float = 1e-6) -> None:
        self.matcher, self.power, self.eps = matcher, power, eps

    @torch.no_grad()
    def __call__(self, sets: Sequence[PredictionSet], targets: Targets) -> list[Matches]:
        """One `Matches` per set."""
        return self.matcher([self.modulated(each, targets) for each in sets], targets)

    def modulated(self, predictions: PredictionSet, targets: Targets) -> PredictionSet:
        """The set with every class probability times the power of its position score."""
        if not len(targets.labels):
            return predictions
        share = at_least_float32(predictions.logits).sigmoid()
        share = share * position_scores(predictions, targets, self.eps) ** self.power
        return predictions._replace(logits=share.logit())


def position_scores(predictions: PredictionSet, targets: Targets, eps: float = 1e-6) -> Tensor:
    """How near each query is to the last object of each class, (B, Q, K) in [0, 1].

    As in the official code that is the last object of the whole batch, whatever its image, and a
    class without objects scores 0. Each image is scaled up until its best score is 1.
    """
    labels, count = targets.labels, predictions.logits.shape[-1]
    if predictions.class_agnostic:
        labels = torch.zeros_like(labels)
    index = torch.arange(len(labels), device=labels.device)
    last = labels.new_full((count,), -1).scatter_reduce(0, labels, index, "amax")  # (K,)
    boxes = at_least_float32(predictions.boxes)
    truth = targets.boxes[last.clamp(min=0)].to(boxes)
    _, giou = pairwise_overlap(to_xyxy(boxes), to_xyxy(truth), eps)  # (B, Q, K)
    scores = torch.where(last >= 0, ((giou + 1) / 2).clamp(min=0), 0.0)
    return scores * (1 / (scores.amax((1, 2), keepdim=True) + 1e-8)).clamp(min=1)


@MATCHERS.register("stable", scores="sigmoid")
def stable(
    *,
    class_weight: NonNegative = 2.0,
    l1_weight: NonNegative = 5.0,
    giou_weight: NonNegative = 2.0,
    alpha: Share = 0.25,
    gamma: NonNegative = 2.0,
    position_power: NonNegative = 0.5,
    eps: NonNegative = 1e-6,
) -> PositionModulated:
    """Hungarian matching on the focal cost of position-modulated probabilities, L1 and GIoU."""
    from scipy.optimize import linear_sum_assignment

    cost = FocalBoxCost(class_weight, l1_weight, giou_weight, alpha, gamma, eps)
    return PositionModulated(CostMatcher(cost, linear_sum_assignment), position_power, eps)
