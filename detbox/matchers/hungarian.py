"""Optimal one-to-one assignment of predictions and targets (DETR, sec. 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment

from detbox.matchers.cost import FocalBoxCost, assign, per_image_costs
from detbox.registry import MATCHERS
from detbox.structures import Matches, PredictionSet, Targets


class HungarianMatcher:
    """Match all prediction sets of a step in one call, optimally per image."""

    def __init__(self, cost: FocalBoxCost) -> None:
        self.cost = cost

    @torch.no_grad()
    def __call__(self, sets: Sequence[PredictionSet], targets: Targets) -> list[Matches]:
        """One `Matches` per set, queries ascending inside an image.

        Raises:
            RuntimeError: a cost is not finite, so the predictions have diverged.
        """
        return [
            assign(costs, targets, linear_sum_assignment)
            for costs in per_image_costs(self.cost, sets, targets)
        ]


@MATCHERS.register("hungarian")
def hungarian(
    *,
    class_weight: float = 2.0,
    l1_weight: float = 5.0,
    giou_weight: float = 2.0,
    alpha: float = 0.25,
    gamma: float = 2.0,
    eps: float = 1e-6,
) -> HungarianMatcher:
    """Hungarian matching on focal, L1 and GIoU cost (Deformable DETR, app. A.4)."""
    return HungarianMatcher(FocalBoxCost(class_weight, l1_weight, giou_weight, alpha, gamma, eps))
