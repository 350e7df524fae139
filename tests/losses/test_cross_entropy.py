"""Softmax classification against PyTorch, and how it is normalised."""

from __future__ import annotations

import pytest
import torch
from scenes import random_predictions, random_targets
from torch.nn import functional as F

from detbox import matchers  # noqa: F401  (importing registers)
from detbox.criterion import Criterion
from detbox.losses.cross_entropy import cross_entropy
from detbox.registry import LOSSES, MATCHERS
from detbox.structures import Matches, Outputs, StepObjects

TARGETS = random_targets(2, 1)._replace(labels=torch.tensor([0, 2, 1]))
PREDICTIONS = random_predictions(2, 6)
MATCHES = Matches(torch.tensor([0, 0, 1]), torch.tensor([4, 1, 5]), torch.tensor([1, 0, 2]))


@pytest.mark.parametrize("background", [0.1, 1.0])
def test_the_loss_is_the_weighted_mean_of_pytorch(background: float) -> None:
    truth = torch.full((2, 6), 3)
    truth[0, 4], truth[0, 1], truth[1, 5] = 2, 0, 1
    weight = torch.tensor([1.0, 1.0, 1.0, background])
    expected = F.cross_entropy(PREDICTIONS.logits.flatten(0, 1), truth.flatten(), weight)
    found = cross_entropy(PREDICTIONS, TARGETS, MATCHES, background_weight=background)
    torch.testing.assert_close(found.total / found.divisor, expected)


def test_the_criterion_divides_it_by_its_own_weights() -> None:
    losses = {"class": LOSSES.bind({"name": "cross_entropy"}), "l1": LOSSES.bind({"name": "l1"})}
    matcher = MATCHERS.build({"name": "hungarian", "class_cost": "softmax"})
    criterion = Criterion(matcher, losses, {"class": 2.0, "l1": 1.0})
    given = PREDICTIONS._replace(matches=MATCHES)
    one, four = (criterion(Outputs(given, ()), TARGETS, StepObjects((count,))) for count in (1, 4))
    found = cross_entropy(PREDICTIONS, TARGETS, MATCHES)
    torch.testing.assert_close(one["decoder0/match/class"], 2 * found.total / found.divisor)
    torch.testing.assert_close(one["decoder0/match/class"], four["decoder0/match/class"])
    torch.testing.assert_close(one["decoder0/match/l1"], 4 * four["decoder0/match/l1"])
