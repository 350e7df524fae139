"""Losses whose class target says how well the box fits, against their formulas."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from scenes import random_predictions, random_targets
from torch import Tensor
from torchvision import ops

from detbox import losses  # noqa: F401  (importing registers)
from detbox.boxes import to_xyxy
from detbox.registry import LOSSES
from detbox.structures import Matches, Origin, PredictionSet


def central(boxes: Tensor) -> Tensor:
    """Boxes that all hold the image's centre, so that each overlaps each."""
    return 0.4 + boxes * torch.tensor([0.2, 0.2, 0.4, 0.4])


TARGETS = random_targets(3, 2)
TARGETS = TARGETS._replace(boxes=central(TARGETS.boxes))
PREDICTIONS = random_predictions(2, 6)
PREDICTIONS = PREDICTIONS._replace(boxes=central(PREDICTIONS.boxes))
MATCHES = Matches(
    torch.tensor([0, 0, 0, 1, 1]), torch.tensor([4, 1, 2, 5, 0]), torch.tensor([1, 0, 2, 4, 3])
)
TWICE = Matches(torch.tensor([0, 0, 1]), torch.tensor([4, 1, 5]), torch.tensor([1, 1, 3]))
"""a target with two queries, as denoising groups have it"""
NAMES = ("position_supervised", "varifocal", "ia_bce", "align")
Truth = Callable[[Tensor, Tensor, Matches], Tensor]


def value(
    name: str, predictions: PredictionSet, matches: Matches = MATCHES, **settings: float | str
) -> Tensor:
    """A registered loss."""
    return LOSSES.bind({"name": name, **settings})(predictions, TARGETS, matches)


def entropy(share: Tensor, truth: Tensor) -> Tensor:
    """Binary cross-entropy."""
    return -truth * share.log() - (1 - truth) * (1 - share).log()


def ious(matches: Matches) -> Tensor:
    """IoU of every pair."""
    boxes = PREDICTIONS.boxes[matches.image, matches.query].double()
    truth = TARGETS.boxes[matches.target].double()
    return ops.box_iou(to_xyxy(boxes), to_xyxy(truth)).diagonal()


def largest_of(values: Tensor, group: Tensor) -> Tensor:
    """For each value the largest of its group."""
    return torch.stack([values[group == each].max() for each in group])


def position_truth(share: Tensor, iou: Tensor, matches: Matches) -> Tensor:
    return iou**2 / largest_of(iou**2, matches.image)


def iou_truth(share: Tensor, iou: Tensor, matches: Matches) -> Tensor:
    return iou


def mixed_truth(share: Tensor, iou: Tensor, matches: Matches) -> Tensor:
    return (share**0.25 * iou**0.75).clamp(min=0.01)


def aligned_truth(share: Tensor, iou: Tensor, matches: Matches) -> Tensor:
    quality = share * iou**6
    return quality / largest_of(quality, matches.target) * largest_of(iou, matches.target)


def reference(name: str, logits: Tensor, matches: Matches, truth: Tensor) -> Tensor:
    """The loss, logit by logit, with the class targets of the pairs given."""
    share = logits.sigmoid()
    own = dict(zip(zip(*(x.tolist() for x in matches[:2]), strict=True), range(99), strict=False))
    total = logits.new_zeros(())
    for image in range(logits.shape[0]):
        for query in range(logits.shape[1]):
            for label in range(logits.shape[2]):
                p, pair = share[image, query, label], own.get((image, query))
                if pair is not None and TARGETS.labels[matches.target[pair]] == label:
                    t = truth[pair]
                    weight = {
                        "position_supervised": 0.25 * (t - p) ** 2,
                        "varifocal": t,
                        "ia_bce": 1.0,
                        "align": (t - p) ** 2,
                    }[name]
                    total = total + weight * entropy(p, t)
                else:
                    balance = {"position_supervised": 0.75, "varifocal": 0.75}.get(name, 1.0)
                    total = total + balance * p**2 * entropy(p, torch.zeros_like(p))
    return total


TRUTHS: dict[str, Truth] = dict(
    zip(NAMES, (position_truth, iou_truth, mixed_truth, aligned_truth), strict=True)
)


@pytest.mark.parametrize("matches", [MATCHES, TWICE], ids=["one", "several"])
@pytest.mark.parametrize("name", NAMES)
def test_value_and_gradient_are_those_of_the_formula(name: str, matches: Matches) -> None:
    logits = PREDICTIONS.logits.double().requires_grad_()
    boxes = PREDICTIONS.boxes.double().requires_grad_()
    ours = value(name, PredictionSet(Origin(0, "match"), logits, boxes), matches)
    place = matches.image, matches.query, TARGETS.labels[matches.target]
    truth = TRUTHS[name](logits[place].sigmoid(), ious(matches), matches).detach()
    expected = reference(name, logits, matches, truth)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=0)
    gradients = [torch.autograd.grad(each, logits)[0] for each in (ours, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)
    assert not torch.autograd.grad(
        value(name, PredictionSet(Origin(0, "match"), logits, boxes)), boxes, allow_unused=True
    )[0]


def perfect(size: float) -> PredictionSet:
    """Matched boxes are right, and their classes as sure as everything else is sure not to be."""
    logits, boxes = torch.full_like(PREDICTIONS.logits, -size), PREDICTIONS.boxes.clone()
    logits[MATCHES.image, MATCHES.query, TARGETS.labels[MATCHES.target]] = size
    boxes[MATCHES.image, MATCHES.query] = TARGETS.boxes[MATCHES.target]
    return PREDICTIONS._replace(logits=logits, boxes=boxes)


@pytest.mark.parametrize("name", NAMES)
def test_a_perfect_prediction_costs_nothing(name: str) -> None:
    assert value(name, perfect(20.0)) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [60.0, -60.0, 200.0, -200.0])
def test_certain_logits_keep_loss_and_gradient_finite(name: str, size: float) -> None:
    predictions = perfect(size)
    logits = predictions.logits.requires_grad_()
    loss = value(name, predictions)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_matched_boxes_that_miss_keep_loss_and_gradient_finite(name: str) -> None:
    logits = PREDICTIONS.logits.clone().requires_grad_()
    boxes = PREDICTIONS.boxes.clone()
    boxes[MATCHES.image, MATCHES.query] = torch.tensor([2.0, 2.0, 0.1, 0.1])
    loss = value(name, PREDICTIONS._replace(logits=logits, boxes=boxes))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_sure_class_costs_more_where_its_box_fits_less(name: str) -> None:
    right = perfect(3.0)
    worse = right.boxes.clone()
    worse[0, 4, 0] += 0.8 * worse[0, 4, 2]
    assert value(name, right._replace(boxes=worse)) > value(name, right)


@pytest.mark.parametrize("name", NAMES)
def test_the_logits_of_all_images_may_come_as_one_row(name: str) -> None:
    query = torch.arange(len(MATCHES.query))
    row = PREDICTIONS._replace(
        logits=PREDICTIONS.logits[MATCHES.image, MATCHES.query][None],
        boxes=PREDICTIONS.boxes[MATCHES.image, MATCHES.query][None],
    )
    joined = value(name, row, Matches(torch.zeros_like(query), query, MATCHES.target))
    unmatched = torch.ones(2, 6, dtype=torch.bool)
    unmatched[MATCHES.image, MATCHES.query] = False
    silent = PREDICTIONS.logits.masked_fill(unmatched[..., None], -100.0)
    torch.testing.assert_close(joined, value(name, PREDICTIONS._replace(logits=silent)))


@pytest.mark.parametrize(("curve", "at_half"), [("sin", 0.5**0.5), ("exp", 1 / (1 + math.e**0.5))])
def test_a_curve_keeps_the_ends_and_bends_between(curve: str, at_half: float) -> None:
    # Two pairs in one image: the best is at the upper end, the other's IoU ** 2 is one half.
    boxes = TARGETS.boxes[[0, 0]].clone()
    boxes[1, 2] *= 0.5**0.5
    logits = torch.full((1, 2, 4), -100.0)
    label = TARGETS.labels[0]
    logits[0, 0, label], logits[0, 1, label] = 100.0, math.log(at_half / (1 - at_half))
    matches = Matches(*torch.tensor([[0, 0], [0, 1], [0, 0]]))
    predictions = PredictionSet(Origin(0, "match"), logits, boxes[None])
    found = value("position_supervised", predictions, matches, curve=curve)
    assert found == pytest.approx(0, abs=1e-6)
