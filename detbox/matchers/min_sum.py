"""Greedy assignment: every target takes its cheapest query, even one that is taken already."""

from __future__ import annotations

import numpy as np

from detbox.matchers.cost import CostMatcher, FocalBoxCost
from detbox.ranges import NonNegative
from detbox.registry import MATCHERS


@MATCHERS.register("min_sum", scores="sigmoid")
def min_sum(
    *, class_weight: NonNegative = 2.0, l1_weight: NonNegative = 5.0, giou_weight: NonNegative = 2.0
) -> CostMatcher:
    """The alternative matcher of the official DINO (`matcher_type=SimpleMinsumMatcher`)."""
    return CostMatcher(FocalBoxCost(class_weight, l1_weight, giou_weight), cheapest)


def cheapest(costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each target's cheapest query, targets ascending: (Q, N) -> two (N,)."""
    return costs.argmin(0), np.arange(costs.shape[1])
