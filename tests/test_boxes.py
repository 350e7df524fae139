"""Box geometry against torchvision, and where boxes degenerate."""

from __future__ import annotations

import pytest
import torch
from scenes import random_boxes
from torchvision import ops

from detbox.boxes import area, inverse_sigmoid, overlap, pairwise_overlap, to_cxcywh, to_xyxy

POINT = (0.3, 0.3, 0.3, 0.3)
LINE = (0.1, 0.4, 0.9, 0.4)
CROSSED = (0.8, 0.8, 0.2, 0.2)
DEGENERATE = (POINT, LINE, CROSSED)


def test_formats_are_inverse_to_each_other() -> None:
    boxes = random_boxes(5, 7).double()
    torch.testing.assert_close(to_cxcywh(to_xyxy(boxes)), boxes)
    torch.testing.assert_close(to_xyxy(to_cxcywh(boxes)), boxes)


def test_formats_are_those_of_torchvision() -> None:
    boxes = random_boxes(20)
    torch.testing.assert_close(to_xyxy(boxes), ops.box_convert(boxes, "cxcywh", "xyxy"))
    torch.testing.assert_close(area(to_xyxy(boxes)), boxes[:, 2] * boxes[:, 3])


def test_overlap_of_every_pair_is_that_of_torchvision() -> None:
    first, second = to_xyxy(random_boxes(9, seed=0)), to_xyxy(random_boxes(6, seed=1))
    iou, giou = pairwise_overlap(first, second, eps=0)
    torch.testing.assert_close(iou, ops.box_iou(first, second))
    torch.testing.assert_close(giou, ops.generalized_box_iou(first, second))


def test_overlap_row_by_row_is_the_diagonal_of_all_pairs() -> None:
    first, second = to_xyxy(random_boxes(8, seed=0)), to_xyxy(random_boxes(8, seed=1))
    for each, every in zip(overlap(first, second), pairwise_overlap(first, second), strict=True):
        torch.testing.assert_close(each, every.diagonal())


def test_giou_of_boxes_apart_is_negative_and_tells_the_distance() -> None:
    box = torch.tensor([0.0, 0.0, 0.1, 0.1])
    near, far = overlap(box, box + 0.2)[1], overlap(box, box + 0.8)[1]
    assert -1 < far < near < 0
    assert overlap(box, box + 0.2)[0] == 0


@pytest.mark.parametrize("first", DEGENERATE)
@pytest.mark.parametrize("second", [*DEGENERATE, (0.1, 0.1, 0.9, 0.9)])
def test_degenerate_boxes_have_a_finite_overlap_and_gradient(
    first: tuple[float, ...], second: tuple[float, ...]
) -> None:
    boxes = torch.tensor(first, requires_grad=True)
    iou, giou = overlap(boxes, torch.tensor(second))
    assert iou.isfinite()
    assert giou.isfinite()
    (iou + giou).backward()
    assert boxes.grad is not None
    assert boxes.grad.isfinite().all()


def test_inverse_sigmoid_is_the_inverse_inside_the_clamp() -> None:
    logits = torch.linspace(-6, 6, 25, dtype=torch.float64)
    torch.testing.assert_close(inverse_sigmoid(logits.sigmoid()), logits)


@pytest.mark.parametrize("eps", [1e-3, 1e-5])
def test_inverse_sigmoid_is_clamped_alike_on_both_sides(eps: float) -> None:
    shares = torch.tensor([-1.0, 0.0, eps / 2, 1 - eps / 2, 1.0, 2.0], dtype=torch.float64)
    low, high = inverse_sigmoid(shares, eps).split(3)
    torch.testing.assert_close(low, -high.flip(0))
    assert low.isfinite().all()
    # Only the share itself is clamped from below, as in the official code.
    torch.testing.assert_close(low[0], torch.tensor(eps, dtype=torch.float64).log())
