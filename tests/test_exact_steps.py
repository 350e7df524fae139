"""A step's gradient does not depend on how its pictures are cut into batches and processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scenes import CLASSES, random_boxes
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

import detbox
import detbox.build  # registers the losses
from detbox.criterion import Criterion
from detbox.data.loading import Loader
from detbox.data.samples import Sample
from detbox.data.sampling import EpochBatches
from detbox.engine.validation_loss import UNDIVIDED, ValidationLoss
from detbox.registry import LOSSES
from detbox.structures import ENCODER, Matches, Origin, Outputs, PredictionSet, StepObjects, Targets

COUNTS: tuple[int, ...] = (5, 0, 1, 2)
QUERIES = 6
SCORES = {name: LOSSES.scores({"name": name}) for name in LOSSES.names()}
BATCHES = {
    "one": (slice(0, 4),),
    "two": (slice(0, 2), slice(2, 4)),
    "unlike": (slice(0, 3), slice(3, 4)),
}


class Head(nn.Module):
    """Predicts the final set, an auxiliary, an encoder's and a denoised one from features."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.denoises = classes == CLASSES  # nobody denoises softmax scores
        self.linear = nn.Linear(8, classes + 4, dtype=torch.float64)

    def forward(self, features: Tensor, targets: Targets) -> Outputs:
        """Of pictures with features (B, Q, 8)."""
        sets = [self._set(Origin(layer, "match"), features * (layer + 1)) for layer in (0, 1)]
        encoder = self._set(ENCODER, features * 3)
        denoised = [self._denoised(features, targets)] if self.denoises else []
        return Outputs(sets[1], (sets[0], encoder, *denoised))

    def _set(self, origin: Origin, features: Tensor, **fields: Any) -> PredictionSet:
        logits, boxes = self.linear(features).tensor_split([self.linear.out_features - 4], -1)
        return PredictionSet(origin, logits, boxes.sigmoid(), **fields)

    def _denoised(self, features: Tensor, targets: Targets) -> PredictionSet:
        image = torch.tensor([i for i, n in enumerate(targets.counts) for _ in range(n)]).long()
        query = torch.tensor([q for n in targets.counts for q in range(n)]).long()
        matches = Matches(image, query, torch.arange(len(image)))
        origin = Origin(1, "denoise")
        return self._set(origin, features / 2, matches=matches, matched_only=True)


def scene() -> tuple[Tensor, Targets]:
    """Features of four pictures, and their objects."""
    random = torch.Generator().manual_seed(3)
    features = torch.randn(4, QUERIES, 8, dtype=torch.float64, generator=random)
    labels = torch.randint(CLASSES, (sum(COUNTS),), generator=random)
    return features, Targets(labels, random_boxes(1, sum(COUNTS), seed=5)[0].double(), COUNTS)


def part_of(targets: Targets, part: slice) -> Targets:
    """The objects of some pictures."""
    start, end = sum(COUNTS[: part.start]), sum(COUNTS[: part.stop])
    return Targets(targets.labels[start:end], targets.boxes[start:end], COUNTS[part])


def criterion_of(loss: str) -> tuple[Criterion, Head]:
    """One loss alone, its pairs weighed, and what predicts the scores it reads."""
    softmax = SCORES[loss] == "softmax"
    matcher = "hungarian_detr" if softmax else "mixed"
    cfg = detbox.compose(f"matcher={matcher}")
    weighed = {} if softmax else {"pair_weight": {"name": "prime"}}
    cfg.criterion = {"losses": {loss: {"name": loss}}, "weights": {loss: 1.0}, **weighed}
    cfg.model.name = "detr" if softmax else cfg.model.name
    cfg.postprocess = {"name": "softmax"} if softmax else cfg.postprocess
    return detbox.build_criterion(cfg), Head(CLASSES + softmax)


def gradient(loss: str, batches: tuple[slice, ...]) -> Tensor:
    """As Lightning accumulates it: the mean of the batches' losses."""
    criterion, head = criterion_of(loss)
    features, targets = scene()
    for part in batches:
        own = part_of(targets, part)
        terms = criterion(head(features[part], own), own, StepObjects(COUNTS, len(batches)))
        (terms.total / len(batches)).backward()
    assert head.linear.weight.grad is not None
    return head.linear.weight.grad


@pytest.mark.parametrize("cut", ["two", "unlike"])
@pytest.mark.parametrize("loss", SCORES)
def test_accumulated_batches_give_the_gradient_of_one(loss: str, cut: str) -> None:
    whole = gradient(loss, BATCHES["one"])
    assert whole.abs().max() > 1e-3
    torch.testing.assert_close(gradient(loss, BATCHES[cut]), whole, rtol=1e-6, atol=1e-12)


def test_processes_give_the_gradient_of_one(tmp_path: Path) -> None:
    multiprocessing.spawn(_gradients_of_a_rank, (tmp_path,), nprocs=2)
    found = torch.load(tmp_path / "gradients.pt")
    assert set(found) == set(SCORES)
    for loss, shared in found.items():
        torch.testing.assert_close(shared, gradient(loss, BATCHES["one"]), rtol=1e-6, atol=1e-12)


def _gradients_of_a_rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    features, targets = scene()
    part = BATCHES["two"][rank]
    own, found = part_of(targets, part), {}
    for loss in SCORES:
        criterion, head = criterion_of(loss)
        network = DistributedDataParallel(head)
        criterion(network(features[part], own), own).total.backward()
        found[loss] = head.linear.weight.grad
    if rank == 0:
        torch.save(found, folder / "gradients.pt")
    distributed.destroy_process_group()


@pytest.mark.parametrize("loss", SCORES)
def test_a_validation_has_the_loss_of_one_batch(loss: str) -> None:
    criterion, head = criterion_of(loss)
    features, targets = scene()
    whole = criterion(head(features, targets), targets).total
    validation = ValidationLoss()
    for part, counts in ((0, 1), True), ((1, 2), True), ((2, 4), True), ((0, 2), False):
        own = part_of(targets, slice(*part))  # the second has no object, the last does not count
        terms = criterion(head(features[slice(*part)], own), own, UNDIVIDED, alone=True)
        validation.add(terms, sum(own.counts) if counts else None)
    found = validation.total(lambda sums: sums)
    torch.testing.assert_close(found, whole, rtol=1e-6, atol=1e-12)
    assert validation.total(lambda sums: sums) is None


class Samples(torch.utils.data.Dataset[Sample]):
    """Picture i has i mod 3 objects."""

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """A black picture."""
        count = key[1] % 3
        pixels = torch.zeros(3, 8, 8, dtype=torch.uint8)
        return Sample(pixels, torch.zeros(count).long(), torch.zeros(count, 4), key[1], (8, 8), ())


def loader_of(accumulated: int, counted: int | None = None) -> Iterator[Any]:
    """Five batches of two pictures."""
    plan = [np.array([2 * i, 2 * i + 1]) for i in range(5)]
    return iter(Loader(Samples(), EpochBatches(lambda _: plan), 0, "train", accumulated, counted))


def test_batches_behind_those_that_count_say_so() -> None:
    assert [bool(batch.step.counts) for batch in loader_of(1, 3)] == [*3 * [True], *2 * [False]]


def test_batches_know_the_objects_of_their_step() -> None:
    steps = [batch.step for batch in loader_of(2)]
    counts = [each.counts for each in steps]
    assert counts == [*2 * [(0, 1, 2, 0)], *2 * [(1, 2, 0, 1)], (2, 0)]
    assert {each.batches for each in steps} == {2}  # the last step, too, is divided by two
    assert next(batch.step for batch in loader_of(1)) == StepObjects((0, 1), 1)
