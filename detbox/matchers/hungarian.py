"""Optimal one-to-one assignment of predictions and targets (DETR, sec. 3.1)."""

from __future__ import annotations

from detbox.matchers.cost import CostMatcher, CostSettings
from detbox.ranges import NonNegative, Share
from detbox.registry import CLASS_COSTS, MATCHERS


@MATCHERS.register("hungarian", scores=CLASS_COSTS)
def hungarian(
    *,
    class_cost: str = "focal",
    class_weight: NonNegative = 2.0,
    l1_weight: NonNegative = 5.0,
    giou_weight: NonNegative = 2.0,
    alpha: Share = 0.25,
    gamma: NonNegative = 2.0,
    eps: NonNegative = 1e-6,
) -> CostMatcher:
    """Hungarian matching on class, L1 and GIoU cost (Deformable DETR, app. A.4)."""
    from scipy.optimize import linear_sum_assignment

    settings = CostSettings(class_weight, l1_weight, giou_weight, alpha, gamma, eps)
    cost = CLASS_COSTS.build({"name": class_cost}, settings)
    return CostMatcher(cost, linear_sum_assignment)
