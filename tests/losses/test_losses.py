"""Losses against torchvision and against their formulas; all are sums over the batch."""

from __future__ import annotations

import pytest
import torch
from scenes import random_predictions, random_targets
from torch.nn import functional as F
from torchvision import ops

from detbox import losses  # noqa: F401  (importing registers)
from detbox.boxes import to_xyxy
from detbox.losses.focal import sigmoid_focal
from detbox.registry import LOSSES
from detbox.structures import Matches, Normalized, Origin, PredictionSet, Targets

TARGETS = random_targets(2, 1)
PREDICTIONS = random_predictions(2, 6)
MATCHES = Matches(torch.tensor([0, 0, 1]), torch.tensor([4, 1, 5]), torch.tensor([1, 0, 2]))
NOTHING = Matches(*torch.zeros(3, 0, dtype=torch.int64))
NAMES = sorted(LOSSES.names())
QUALITY = {"align", "ia_bce", "position_supervised", "varifocal"}
"""their class target follows the predictions without a gradient: see test_quality_losses"""


def value(
    name: str, predictions: PredictionSet, targets: Targets, matches: Matches
) -> torch.Tensor:
    """A registered loss with its defaults, before it is divided by anything."""
    loss = LOSSES.bind({"name": name})(predictions, targets, matches)
    return loss.total if isinstance(loss, Normalized) else loss


@pytest.mark.parametrize("alpha", [0.25, 0.6, -1.0])
@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_focal_is_that_of_torchvision(alpha: float, gamma: float) -> None:
    logits = (4 * torch.randn(30, 5, generator=torch.Generator().manual_seed(0))).requires_grad_()
    truth = F.one_hot(torch.arange(30) % 5, 5).float()
    ours = sigmoid_focal(logits, truth, alpha, gamma)
    theirs = ops.sigmoid_focal_loss(logits, truth, alpha, gamma)
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(each.sum(), logits)[0] for each in (ours, theirs)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("size", [60.0, 200.0])
def test_focal_stays_finite_for_certain_logits(size: float) -> None:
    logits = torch.tensor([[-size, size]], requires_grad=True)
    loss = sigmoid_focal(logits, torch.tensor([[1.0, 0.0]]), 0.25, 2.0).sum()
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_focal_counts_matched_queries_as_their_class_and_others_as_background() -> None:
    truth = torch.zeros(2, 6, 4)
    for image, query, target in zip(*(each.tolist() for each in MATCHES), strict=True):
        truth[image, query, TARGETS.labels[target]] = 1
    expected = ops.sigmoid_focal_loss(PREDICTIONS.logits, truth, reduction="sum")
    torch.testing.assert_close(value("focal", PREDICTIONS, TARGETS, MATCHES), expected)


def test_l1_is_the_sum_over_matched_pairs() -> None:
    boxes = PREDICTIONS.boxes[[0, 0, 1], [4, 1, 5]]
    expected = (boxes - TARGETS.boxes[[1, 0, 2]]).abs().sum()
    torch.testing.assert_close(value("l1", PREDICTIONS, TARGETS, MATCHES), expected)


def test_giou_is_the_sum_over_matched_pairs() -> None:
    boxes = PREDICTIONS.boxes[[0, 0, 1], [4, 1, 5]]
    truth = TARGETS.boxes[[1, 0, 2]]
    expected = ops.generalized_box_iou_loss(to_xyxy(boxes), to_xyxy(truth), reduction="sum")
    found = value("giou", PREDICTIONS, TARGETS, MATCHES)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_a_sum_and_not_a_mean(name: str) -> None:
    twice = PREDICTIONS._replace(
        logits=PREDICTIONS.logits.repeat(2, 1, 1), boxes=PREDICTIONS.boxes.repeat(2, 1, 1)
    )
    labels, boxes, counts = TARGETS
    targets = Targets(labels.repeat(2), boxes.repeat(2, 1), counts * 2)
    image, query, target = (index.repeat(2) for index in MATCHES)
    image[3:] += len(counts)
    target[3:] += len(labels)
    once = value(name, PREDICTIONS, TARGETS, MATCHES)
    torch.testing.assert_close(value(name, twice, targets, Matches(image, query, target)), 2 * once)


@pytest.mark.parametrize("name", NAMES)
def test_without_matches_a_loss_is_finite_and_keeps_the_graph(name: str) -> None:
    logits, boxes = (each.clone().requires_grad_() for each in PREDICTIONS[1:3])
    predictions = PREDICTIONS._replace(logits=logits, boxes=boxes)
    loss = value(name, predictions, random_targets(0, 0), NOTHING)
    loss.backward()
    assert loss.isfinite()
    assert (logits.grad is None) != (boxes.grad is None)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_pairs_does_not_matter(name: str) -> None:
    reverse = Matches(*(index.flip(0) for index in MATCHES))
    first, second = (value(name, PREDICTIONS, TARGETS, each) for each in (MATCHES, reverse))
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("name", sorted(set(NAMES) - QUALITY))
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    logits, boxes = (each.double().requires_grad_() for each in PREDICTIONS[1:3])
    targets = TARGETS._replace(boxes=TARGETS.boxes.double())

    def loss(logits: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        return value(name, PredictionSet(Origin(0, "match"), logits, boxes), targets, MATCHES)

    assert torch.autograd.gradcheck(loss, (logits, boxes))
