"""Greedy assignment: every target takes its cheapest query, even one that is taken already."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from detbox.matchers.cost import FocalBoxCost, assign, per_image_costs
from detbox.registry import MATCHERS
from detbox.structures import Matches, PredictionSet, Targets


class MinSumMatcher:
    """Match each target alone: faster than the optimum, but a query may serve several targets."""

    def __init__(self, cost: FocalBoxCost) -> None:
        self.cost = cost

    @torch.no_grad()
    def __call__(self, sets: Sequence[PredictionSet], targets: Targets) -> list[Matches]:
        """One `Matches` per set, targets ascending inside an image.

        Raises:
            RuntimeError: a cost is not finite, so the predictions have diverged.
        """
        return [
            assign(costs, targets, _cheapest) for costs in per_image_costs(self.cost, sets, targets)
        ]


@MATCHERS.register("min_sum")
def min_sum(
    *, class_weight: float = 2.0, l1_weight: float = 5.0, giou_weight: float = 2.0
) -> MinSumMatcher:
    """The alternative matcher of the official DINO (`matcher_type=SimpleMinsumMatcher`)."""
    return MinSumMatcher(FocalBoxCost(class_weight, l1_weight, giou_weight))


def _cheapest(costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return costs.argmin(0), np.arange(costs.shape[1])
