"""Optimal one-to-one assignment of predictions and targets (DETR, sec. 3.1)."""

from __future__ import annotations

from scipy.optimize import linear_sum_assignment

from detbox.matchers.cost import ClassCost, CostMatcher, box_cost
from detbox.registry import MATCHERS


@MATCHERS.register("hungarian")
def hungarian(
    *,
    class_cost: ClassCost = "focal",
    class_weight: float = 2.0,
    l1_weight: float = 5.0,
    giou_weight: float = 2.0,
    alpha: float = 0.25,
    gamma: float = 2.0,
    eps: float = 1e-6,
) -> CostMatcher:
    """Hungarian matching on class, L1 and GIoU cost (Deformable DETR, app. A.4)."""
    cost = box_cost(class_cost, class_weight, l1_weight, giou_weight, alpha, gamma, eps)
    return CostMatcher(cost, linear_sum_assignment)
