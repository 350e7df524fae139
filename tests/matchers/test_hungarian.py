"""The optimal assignment, asked once for all prediction sets of a step."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import pytest
import torch
from scenes import random_predictions, random_targets
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision import ops

from detbox import matchers  # noqa: F401  (importing registers)
from detbox.boxes import to_xyxy
from detbox.matchers.cost import CostMatcher, FocalBoxCost
from detbox.registry import MATCHERS
from detbox.structures import Matches, PredictionSet, Targets

COST = FocalBoxCost()
match = CostMatcher(COST, linear_sum_assignment)


def pairs(matches: Matches) -> set[tuple[int, int, int]]:
    """(image, query, target) of every pair."""
    return set(zip(*(index.tolist() for index in matches), strict=True))


def image_cost(predictions: PredictionSet, targets: Targets, image: int) -> Tensor:
    """(Q, n) costs of one image alone."""
    labels, boxes = targets.of(image)
    own = predictions.logits[image : image + 1], predictions.boxes[image : image + 1]
    return COST(*own, labels[None], boxes[None])[0]


def cheapest(cost: Tensor) -> float:
    """Least sum over every way to give each target a query of its own."""
    columns = range(cost.shape[1])
    orders = permutations(range(cost.shape[0]), cost.shape[1])
    return min(sum(cost[order[n], n].item() for n in columns) for order in orders)


def test_the_cost_is_focal_plus_l1_minus_giou() -> None:
    predictions, targets = random_predictions(1, 5), random_targets(3)
    share = predictions.logits[0].sigmoid()[:, targets.labels].double()
    positive = 0.25 * (1 - share) ** 2 * -share.log()
    negative = 0.75 * share**2 * -(1 - share).log()
    boxes, truth = predictions.boxes[0].double(), targets.boxes.double()
    l1 = (boxes[:, None] - truth).abs().sum(-1)
    giou = ops.generalized_box_iou(to_xyxy(boxes), to_xyxy(truth))
    expected = 2 * (positive - negative) + 5 * l1 - 2 * giou
    found = image_cost(predictions, targets, 0).double()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_the_assignment_is_the_best_of_all(seed: int) -> None:
    predictions, targets = random_predictions(2, 5, seed=seed), random_targets(3, 4, seed=seed)
    (found,) = match([predictions], targets)
    for image, start in enumerate(targets.starts):
        cost, own = image_cost(predictions, targets, image), found.image == image
        chosen = cost[found.query[own], found.target[own] - start].sum().item()
        assert sorted((found.target[own] - start).tolist()) == list(range(targets.counts[image]))
        assert len(set(found.query[own].tolist())) == targets.counts[image]
        assert chosen == pytest.approx(cheapest(cost), abs=1e-5)


def test_permuted_targets_keep_their_queries() -> None:
    predictions, targets = random_predictions(2, 8), random_targets(4, 3)
    order = torch.tensor([2, 0, 3, 1, 6, 4, 5])
    permuted = Targets(targets.labels[order], targets.boxes[order], targets.counts)
    (first,), (second,) = match([predictions], targets), match([predictions], permuted)
    renamed = second._replace(target=order[second.target])
    assert pairs(first) == pairs(renamed)


def test_several_sets_in_one_call_equal_single_calls() -> None:
    targets = random_targets(3, 0, 2)
    sets = [random_predictions(3, queries, seed=queries) for queries in (4, 9, 6)]
    together = match(sets, targets)
    alone = [match([each], targets)[0] for each in sets]
    assert [pairs(each) for each in together] == [pairs(each) for each in alone]


def test_a_call_copies_to_the_host_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[str] = Counter()

    def counted(name: str) -> None:
        original = getattr(Tensor, name)

        def call(self: Tensor, *arguments: object) -> object:
            calls[name] += 1
            return original(self, *arguments)

        monkeypatch.setattr(Tensor, name, call)

    for name in ("cpu", "item", "tolist", "nonzero", "__bool__", "__int__", "__float__"):
        counted(name)
    match([random_predictions(2, 6, seed=seed) for seed in range(7)], random_targets(3, 2))
    assert calls == {"cpu": 1}


def test_more_targets_than_queries_use_every_query_once() -> None:
    (found,) = match([random_predictions(2, 3)], random_targets(7, 2))
    assert torch.bincount(found.image).tolist() == [3, 2]
    assert len({(image, query) for image, query, _ in pairs(found)}) == 5
    assert len(set(found.target.tolist())) == 5


@pytest.mark.parametrize("counts", [(0, 2, 0), (2, 0, 0), (0, 0, 2)])
def test_empty_images_match_nothing(counts: tuple[int, ...]) -> None:
    (found,) = match([random_predictions(3, 5)], random_targets(*counts))
    assert set(found.image.tolist()) == {counts.index(2)}
    assert sorted(found.target.tolist()) == [0, 1]


def test_a_batch_without_objects_matches_nothing() -> None:
    found = match([random_predictions(2, 5), random_predictions(2, 3)], random_targets(0, 0))
    assert [len(index) for matches in found for index in matches] == [0] * 6
    assert all(index.dtype == torch.int64 for matches in found for index in matches)


@pytest.mark.parametrize(
    ("field", "value"), [("logits", "nan"), ("boxes", "nan"), ("boxes", "inf")]
)
def test_predictions_that_diverged_are_told(field: str, value: str) -> None:
    predictions = random_predictions(2, 5)
    getattr(predictions, field)[1, 2] = float(value)
    with pytest.raises(RuntimeError, match=r"training has diverged.*lower optimizer\.lr"):
        match([random_predictions(2, 5), predictions], random_targets(2, 2))


def test_a_class_agnostic_set_is_matched_by_its_first_logit() -> None:
    predictions, targets = random_predictions(2, 8), random_targets(4, 3)
    agnostic = predictions._replace(class_agnostic=True)
    single = predictions._replace(logits=predictions.logits[..., :1])
    as_zero = targets._replace(labels=torch.zeros_like(targets.labels))
    (first, beside), (expected,) = match([agnostic, predictions], targets), match([single], as_zero)
    assert pairs(first) == pairs(expected)
    assert pairs(beside) == pairs(match([predictions], targets)[0])


def test_half_precision_is_matched_in_float32() -> None:
    predictions, targets = random_predictions(2, 8), random_targets(4, 3)
    half = predictions._replace(
        logits=predictions.logits.bfloat16(), boxes=predictions.boxes.bfloat16()
    )
    seen: list[torch.dtype] = []

    def cost(*inputs: Tensor) -> Tensor:
        seen.extend(each.dtype for each in inputs if each.is_floating_point())
        return COST(*inputs)

    (found,) = CostMatcher(cost, linear_sum_assignment)([half], targets)
    exact = half._replace(logits=half.logits.float(), boxes=half.boxes.float())
    assert set(seen) == {torch.float32}
    assert pairs(found) == pairs(match([exact], targets)[0])


def test_the_weights_of_the_cost_are_settings() -> None:
    predictions, targets = random_predictions(1, 8), random_targets(1)
    only_l1 = {"class_weight": 0.0, "l1_weight": 1.0, "giou_weight": 0.0}
    (found,) = MATCHERS.build({"name": "hungarian", **only_l1})([predictions], targets)
    distance = (predictions.boxes[0] - targets.boxes).abs().sum(-1)
    assert found.query.item() == distance.argmin().item()
