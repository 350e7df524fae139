"""Transport plans and their rounding to an assignment, all on the device."""

from __future__ import annotations

import pytest
import torch
from scenes import CLASSES, random_predictions, random_targets
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.nn import functional as F

from detbox.matchers import sinkhorn
from detbox.matchers.cost import joint_costs
from detbox.matchers.sinkhorn import cheapest, greedy_order, rounding_draws, sorted_orders
from detbox.matchers.transport import Plan, Transport
from detbox.registry import MATCHERS
from detbox.structures import Matches, PredictionSet, Targets

SINKHORN = MATCHERS.build({"name": "sinkhorn"})


def random_costs(*shape: int, seed: int = 0) -> Tensor:
    """Costs in [0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def even(size: int) -> Tensor:
    """The same mass in every column."""
    return torch.full((size,), 1 / size, dtype=torch.float64)


def pairs(matches: Matches) -> set[tuple[int, int, int]]:
    """(image, query, target) of every pair."""
    return set(zip(*(index.tolist() for index in matches), strict=True))


def found_objects(queries: int = 9) -> tuple[PredictionSet, Targets]:
    """Predictions among which one of its own is right for every object."""
    predictions, targets = random_predictions(2, queries), random_targets(4, 2)
    for image in range(2):
        labels, boxes = targets.of(image)
        query = torch.arange(len(labels)) * 2 + 1
        predictions.boxes[image, query] = boxes
        predictions.logits[image, query] = 6 * F.one_hot(labels, CLASSES).float() - 3
    return predictions, targets


def test_a_plan_moves_the_asked_mass() -> None:
    mass = torch.tensor([0.5, 0.2, 0.2, 0.1], dtype=torch.float64)
    plan = Transport(threshold=1e-6)(random_costs(3, 6, 4), mass)
    assert plan.converged.all()
    torch.testing.assert_close(plan.coupling.sum(1), mass.expand(3, -1), rtol=0, atol=1e-6)
    torch.testing.assert_close(plan.coupling.sum(2), even(6).expand(3, -1), rtol=0, atol=1e-5)


def test_less_entropy_costs_less() -> None:
    cost = random_costs(1, 6, 6)
    totals = [
        float((Transport(epsilon, threshold=1e-6)(cost, even(6)).coupling * cost).sum())
        for epsilon in (1.0, 0.1, 0.01)
    ]
    assert totals == sorted(totals, reverse=True)


def test_problems_are_solved_as_if_each_were_alone() -> None:
    costs = random_costs(4, 12, 12) * torch.tensor([0.1, 1, 5, 20])[:, None, None]
    together = Transport()(costs, even(12))
    for index, cost in enumerate(costs):
        alone = Transport()(cost[None], even(12))
        torch.testing.assert_close(together.coupling[index], alone.coupling[0])
        torch.testing.assert_close(together.errors[index], alone.errors[0])
    assert len({int((errors >= 0).sum()) for errors in together.errors}) > 1


def test_iterations_end_where_they_are_told_to() -> None:
    plan = Transport(iterations=20)(random_costs(1, 12, 12), even(12))
    assert not plan.converged.any()
    assert plan.errors.shape == (1, 2)


def test_one_empty_column_stands_for_the_padding_to_a_square() -> None:
    cost = random_costs(3, 10, 4)
    draws = torch.rand(30, 3, 10, dtype=torch.float64).sort(-1).values
    square, narrow = F.pad(cost, (0, 6)), F.pad(cost, (0, 1))
    mass = torch.tensor([0.1] * 4 + [0.6], dtype=torch.float64)
    wide, thin = Transport()(square, even(10)), Transport()(narrow, mass)
    torch.testing.assert_close(wide.coupling[..., :4], thin.coupling[..., :4])
    torch.testing.assert_close(wide.coupling[..., 4:].sum(-1), thin.coupling[..., 4])
    wide_order = cheapest(square, sorted_orders(wide.coupling, draws))
    thin_order = cheapest(narrow, sorted_orders(thin.coupling, draws))
    assert (wide_order[:, :4] == thin_order[:, :4]).all()


def test_a_plan_that_is_a_permutation_is_rounded_to_it() -> None:
    order = torch.tensor([[3, 0, 2, 1], [1, 2, 3, 0]])
    coupling = F.one_hot(order, 4).mT.double() / 4
    draws = rounding_draws(1, 4, coupling)
    assert (sorted_orders(coupling, draws)[:, 0] == order).all()


def test_a_query_that_is_split_moves_no_other_pair() -> None:
    # Query 0 goes half to target 0 and half to nothing, so does query 4; 1 to 3 are clear.
    coupling = torch.zeros(1, 6, 5, dtype=torch.float64) + 1e-9
    coupling[0, 0, 0] = coupling[0, 4, 0] = 0.5
    coupling[0, [1, 2, 3], [1, 2, 3]] = 1.0
    zeros = torch.zeros(1, 6, dtype=torch.float64), torch.zeros(1, 5, dtype=torch.float64)
    plan = Plan(coupling, *zeros, torch.zeros(1, 1), torch.ones(1, dtype=torch.bool))
    absent = torch.tensor([[False, False, False, False, True]])
    order = greedy_order(plan, -coupling.log(), absent)
    assert order[0, :4].tolist() == [0, 1, 2, 3]


def test_the_assignment_costs_what_the_best_one_costs() -> None:
    hungarian = MATCHERS.build({"name": "hungarian"})
    gaps = []
    for seed in range(10):
        predictions, targets = random_predictions(2, 40, seed=seed), random_targets(9, 3, seed=seed)
        costs = joint_costs(hungarian.cost, [predictions], targets)
        found, best = (
            sum(costs[i, q, t - targets.starts[i]] for i, q, t in zip(*each, strict=True))
            for each in (m([predictions], targets)[0] for m in (SINKHORN, hungarian))
        )
        gaps.append(float(found - best))
    assert min(gaps) > -1e-4
    assert sorted(gaps)[5] < 1e-4
    assert max(gaps) < 1.0


def test_more_draws_never_cost_more() -> None:
    cost = random_costs(5, 9, 9)
    coupling = Transport(epsilon=0.2)(cost, even(9)).coupling
    draws = rounding_draws(64, 9, cost)
    totals = [
        cost.gather(1, cheapest(cost, sorted_orders(coupling, draws[:count]))[:, None]).sum((1, 2))
        for count in (1, 8, 64)
    ]
    assert (totals[0] >= totals[1]).all()
    assert (totals[1] >= totals[2]).all()
    assert (totals[0] > totals[2]).any()


def test_what_is_found_clearly_is_matched_as_by_the_hungarian_matcher() -> None:
    predictions, targets = found_objects()
    hungarian = MATCHERS.build({"name": "hungarian"})
    expected = pairs(hungarian([predictions], targets)[0])
    assert pairs(SINKHORN([predictions], targets)[0]) == expected
    assert len(expected) == 6


@pytest.mark.parametrize("counts", [(3, 5), (8, 1), (0, 2)])
def test_every_object_gets_a_query_of_its_own(counts: tuple[int, int]) -> None:
    (found,) = SINKHORN([random_predictions(2, 8)], random_targets(*counts))
    assert sorted(found.target.tolist()) == list(range(sum(counts)))
    assert len(set(zip(found.image.tolist(), found.query.tolist(), strict=True))) == sum(counts)


def test_sets_of_any_size_are_matched_as_if_each_were_alone() -> None:
    targets = random_targets(3, 2)
    sets = [random_predictions(2, size, seed=size) for size in (6, 9, 6)]
    together = SINKHORN(sets, targets)
    assert [pairs(each) for each in together] == [pairs(SINKHORN([s], targets)[0]) for s in sets]


def test_a_softmax_cost_may_be_chosen() -> None:
    predictions, targets = found_objects()
    with_nothing = F.pad(predictions.logits, (0, 1), value=-3.0)
    softmax = MATCHERS.build({"name": "sinkhorn", "class_cost": "softmax"})
    (found,) = softmax([predictions._replace(logits=with_nothing)], targets)
    assert pairs(found) == pairs(SINKHORN([predictions], targets)[0])


def test_a_batch_without_objects_has_no_matches() -> None:
    (found,) = SINKHORN([random_predictions(2, 5)], random_targets(0, 0))
    assert [len(index) for index in found] == [0, 0, 0]
    assert all(index.dtype == torch.int64 for index in found)


def test_more_objects_than_queries_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at most 5 objects.*got 6; try matcher=hungarian"):
        SINKHORN([random_predictions(2, 5)], random_targets(6, 1))


def test_settings_without_sense_are_refused() -> None:
    with pytest.raises(ValueError, match=r"matcher\.iterations must be at least 10"):
        MATCHERS.build({"name": "sinkhorn", "iterations": 5})


def test_no_value_is_needed_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sinkhorn, "rounding_draws", lambda n, size, like: like.new_empty(n, 1, size)
    )
    predictions, targets = random_predictions(2, 8), random_targets(3, 2)
    with FakeTensorMode():  # tensors of a device that have no values: whoever asks for one fails
        logits, boxes, labels, truth = (
            torch.empty(each.shape, dtype=each.dtype, device="cuda")
            for each in (*predictions[1:3], *targets[:2])
        )
        with pytest.raises(DataDependentOutputException):
            bool(boxes.sum() > 0)
        there = predictions._replace(logits=logits, boxes=boxes)
        short = MATCHERS.build({"name": "sinkhorn", "iterations": 20})
        (found,) = short([there], Targets(labels, truth, targets.counts))
        assert {index.device.type for index in found} == {"cuda"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_host_never_waits_for_the_device() -> None:
    predictions, targets = found_objects()
    names = ("logits", "boxes")
    moved = predictions._replace(**{name: getattr(predictions, name).cuda() for name in names})
    there = targets._replace(labels=targets.labels.cuda(), boxes=targets.boxes.cuda())
    SINKHORN([moved], there)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        (found,) = SINKHORN([moved], there)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert pairs(found) == pairs(SINKHORN([predictions], targets)[0])
