"""Mixed matching: several queries for each target before the last layer, one in it."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from scenes import random_predictions, random_targets

from detbox import matchers  # noqa: F401  (importing registers)
from detbox.matchers.cost import FocalBoxCost
from detbox.registry import MATCHERS
from detbox.structures import ENCODER, Matches, Origin

MIXED = MATCHERS.build({"name": "mixed"})
ONE = MATCHERS.build({"name": "hungarian"})
LAST, EARLY = Origin(1, "match"), Origin(0, "match")


def times(matches: Matches, objects: int) -> list[int]:
    """How often each target is found."""
    return torch.bincount(matches.target, minlength=objects).tolist()


def test_only_the_last_layer_is_matched_one_to_one() -> None:
    targets = random_targets(2, 0, 3)
    sets = [random_predictions(3, 12, each, seed=4) for each in (LAST, EARLY, ENCODER)]
    found = MIXED(sets, targets)
    assert [times(each, 5) for each in found] == [[1] * 5, [2] * 5, [2] * 5]
    assert all(map(torch.equal, found[0], ONE(sets[:1], targets)[0]))
    for each in found:
        assert len(set(zip(each.image.tolist(), each.query.tolist(), strict=True))) == len(
            each.query
        )
        assert torch.equal(each.image, torch.tensor([0, 0, 2, 2, 2])[each.target])


@pytest.mark.parametrize("seed", range(3))
def test_the_pairs_are_the_cheapest_of_all_that_find_every_target_twice(seed: int) -> None:
    predictions, targets = random_predictions(1, 8, EARLY, seed), random_targets(2, seed=seed)
    cost = FocalBoxCost()(*predictions[1:3], targets.labels[None], targets.boxes[None])[0]
    least = min(
        cost[a, 0] + cost[b, 0] + cost[c, 1] + cost[d, 1]
        for a, b, c, d in permutations(range(8), 4)
    )
    found = MIXED([random_predictions(1, 8, LAST), predictions], targets)[1]
    torch.testing.assert_close(cost[found.query, found.target].sum(), least)


def test_targets_take_no_more_than_half_of_the_queries_image_by_image() -> None:
    many = MATCHERS.build({"name": "mixed", "candidates": 4})
    targets = random_targets(5, 2, 9, 1)
    sets = [random_predictions(4, 8, each) for each in (LAST, EARLY)]
    last, early = many(sets, targets)
    assert times(early, 17)[:7] == [1] * 5 + [2] * 2
    assert times(early, 17)[16] == 4
    assert sum(times(early, 17)[7:16]) == sum(times(last, 17)[7:16]) == 8  # more than queries
