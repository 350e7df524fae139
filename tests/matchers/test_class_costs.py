"""What a class costs, by softmax and by sigmoid."""

from __future__ import annotations

import torch
from scenes import random_boxes

from detbox.matchers.cost import CostSettings, FocalBoxCost, SoftmaxBoxCost
from detbox.registry import CLASS_COSTS

LOGITS = torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(0))
BOXES, TRUTH = random_boxes(1, 5), random_boxes(1, 2, seed=1)
LABELS = torch.tensor([[2, 0]])


def test_a_softmax_class_costs_minus_its_probability() -> None:
    cost = SoftmaxBoxCost(class_weight=3.0, l1_weight=0.0, giou_weight=0.0)
    found = cost(LOGITS, BOXES, LABELS, TRUTH)
    torch.testing.assert_close(found, -3 * LOGITS.softmax(-1)[..., [2, 0]])


def test_boxes_cost_the_same_whatever_the_classes_are() -> None:
    softmax = SoftmaxBoxCost(class_weight=0.0, eps=1e-6)(LOGITS, BOXES, LABELS, TRUTH)
    focal = FocalBoxCost(class_weight=0.0)(LOGITS, BOXES, LABELS, TRUTH)
    torch.testing.assert_close(softmax, focal)


def test_settings_choose_the_cost() -> None:
    assert CLASS_COSTS.build(
        {"name": "softmax"}, CostSettings(1, 5, 2, 0.25, 2, 0)
    ) == SoftmaxBoxCost(1, 5, 2, 0)
    assert CLASS_COSTS.build({"name": "focal"}, CostSettings(1, 5, 2, 0.5, 3, 0)) == FocalBoxCost(
        1, 5, 2, 0.5, 3, 0
    )
