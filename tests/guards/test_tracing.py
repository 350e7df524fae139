"""A batch computed again names the module where the first value is not finite."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_toys import batch

from detbox.guards.draws import draws_now
from detbox.guards.readings import read
from detbox.guards.tracing import Trace, trace

NAN, CPU = float("nan"), torch.device("cpu")


class Branches(nn.Module):
    """Reads one tensor by a layer and by a root that has no slope."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.other = nn.Linear(4, 4)

    def forward(self, features: Tensor) -> Tensor:
        return self.layer(features) + self.root(features) + self.other(features)

    def root(self, features: Tensor) -> Tensor:
        return (features * 0).sqrt()  # whose slope is infinite


class Scaled(nn.Module):
    """Times a number."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, features: Tensor) -> Tensor:
        return features * self.factor


class Toy(nn.Module):
    """Three stages and a training step."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.middle, self.last = nn.Linear(4, 4), middle, nn.Linear(4, 4)

    def training_step(self, batch: Any, index: int) -> dict[str, Tensor]:
        features = nn.functional.dropout(self.first(torch.ones(2, 4)), 0.5)
        return {"loss": self.last(self.middle(features)).square().sum()}


def traced(module: nn.Module, precision: str = "32-true") -> Trace:
    return trace(module, batch(), draws_now(CPU), precision)


def test_a_module_answers_for_its_output() -> None:
    first = traced(Toy(nn.Sequential(Scaled(), Scaled(NAN), Scaled()))).first
    assert first is not None
    assert (first.module, first.tensor, first.bad, first.size) == ("middle.1", "output", 8, 8)
    assert str(first) == "middle.1: output (2, 4), 8 of 8 values not finite"


def test_the_last_finite_tensors_and_the_module_s_weights_are_shown() -> None:
    toy = Toy(nn.Sequential(Scaled(2.0), nn.Linear(4, 4)))
    toy.middle[1].weight.data[0] = 3e38
    found = traced(toy)
    shown = [(each.module, each.tensor) for each in found.before]
    assert shown == [
        ("first", "output"),
        ("middle.0", "output"),
        ("middle.1", "weight"),
        ("middle.1", "bias"),
    ]
    assert found.before[2].high == pytest.approx(3e38)


def test_a_module_answers_for_a_gradient_that_it_alone_made() -> None:
    toy = Toy(Branches())
    found = traced(toy)
    assert found.first is not None
    assert torch.tensor(found.loss).isfinite()
    # Not for `layer` and `other`, though what reaches their common input is not finite.
    assert (found.first.module, found.first.tensor) == ("middle", "gradient of input[0]")


def test_weights_and_batch_are_asked_first() -> None:
    toy = Toy(Scaled(NAN))
    toy.last.bias.data[1] = NAN
    first = traced(toy).first
    assert first is not None
    assert (first.module, first.tensor, first.bad) == ("last", "bias", 1)
    broken = batch()
    broken.targets.boxes[0, 2] = NAN
    first = trace(Toy(Scaled()), broken, draws_now(CPU), "32-true").first
    assert first is not None
    assert (first.module, first.tensor) == ("batch", "targets.boxes")


def test_precision_decides_what_is_finite() -> None:
    toy = Toy(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)))
    toy.middle[0].weight.data.fill_(1e6)
    found = {each: traced(toy, each).first for each in ("16-mixed", "bf16-mixed", "32-true")}
    assert found["16-mixed"] is not None
    assert found["16-mixed"].module == "middle.0"
    assert found["bf16-mixed"] is found["32-true"] is None


def test_the_same_random_numbers_are_met_and_none_are_used_up() -> None:
    toy, draws = Toy(Scaled()), draws_now(CPU)
    state = torch.get_rng_state()
    losses = [trace(toy, batch(), draws, "32-true").loss for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    losses.append(trace(toy, batch(), draws, "32-true").loss)
    assert (
        losses[0] == losses[1] == losses[2] != trace(toy, batch(), draws_now(CPU), "32-true").loss
    )
    assert all(each.grad is None for each in toy.parameters())


def test_infinite_anchors_are_meant() -> None:
    anchors = torch.tensor([1.0, float("inf"), -float("inf"), NAN])
    assert read("m", "output anchors", anchors).bad == 2
    assert read("m", "output content", anchors).bad == 3
