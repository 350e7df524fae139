"""Matching stability: what counts as a change, and the callback in real runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training_toys import ToyModule, context, loader, trainer

import detbox
from detbox.annotations import Split
from detbox.criterion import Criterion
from detbox.evaluation.stability import MatchingStability, answers, changed, moved, spread
from detbox.structures import (
    ENCODER,
    ImageBatch,
    Matches,
    Origin,
    Outputs,
    PredictionSet,
    Targets,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")


class Swapping(nn.Module):
    """Two queries; layer 0 swaps their boxes from pass to pass, layer 1 never."""

    passes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.register_buffer("passes", torch.zeros(1))

    def forward(self, images: ImageBatch, targets: Targets | None = None) -> Outputs:
        self.passes += not self.training
        near, far = [0.5, 0.5, 0.5, 0.5], [0.1, 0.1, 0.1, 0.1]
        swapped = [near, far] if self.passes % 2 else [far, near]
        first, last = (
            self._set(Origin(i, "match"), b) for i, b in ((0, swapped), (1, [near, far]))
        )
        agnostic = self._set(ENCODER, [far, near])._replace(class_agnostic=True)
        return Outputs(last, (first, agnostic))

    def _set(self, origin: Origin, boxes: list[list[float]]) -> PredictionSet:
        both: Tensor = torch.tensor(boxes).expand(2, 2, 4)
        return PredictionSet(origin, torch.zeros(2, 2, 2) * self.weight, both)


class Module(ToyModule):
    """Its validations see one batch, so that each is a pass."""

    def __init__(self, criterion: Criterion) -> None:
        super().__init__()
        self.detector = Swapping()  # type: ignore[assignment]
        self.criterion = criterion  # type: ignore[assignment]


@pytest.fixture(scope="module")
def criterion() -> Criterion:
    return detbox.build_criterion(detbox.compose())


def fit(folder: Path, criterion: Criterion, stability: MatchingStability, **more: Any) -> Any:
    run = trainer(folder, callbacks=[stability], **more)
    run.fit(Module(criterion), loader(1), loader(1))
    return run


def test_changes_are_logged_per_layer_from_the_second_validation_on(
    tmp_path: Path, criterion: Criterion
) -> None:
    stability = MatchingStability([0, 1])
    once = fit(tmp_path, criterion, stability)
    assert {k: float(v) for k, v in once.callback_metrics.items()} == {"match/moved_layer1": 0.0}
    twice = MatchingStability([0, 1])
    run = fit(tmp_path, criterion, twice, max_epochs=2)
    expected = {"match/changed_layer0": 1.0, "match/changed_layer1": 0.0, "match/moved_layer1": 1.0}
    assert {k: float(v) for k, v in run.callback_metrics.items()} == expected
    resumed = MatchingStability([0, 1])
    resumed.load_state_dict(stability.state_dict())
    now = changed(stability.state_dict()["before"], twice.state_dict()["before"])
    assert now == {"changed_layer0": 1.0, "changed_layer1": 0.0}
    assert resumed.state_dict() == stability.state_dict()


def test_only_chosen_pictures_are_matched_and_the_detector_is_left_alone(
    tmp_path: Path, criterion: Criterion
) -> None:
    stability = MatchingStability([1, 99])
    run = fit(tmp_path, criterion, stability, max_epochs=2)
    assert stability.state_dict() == {"before": {1: {0: [], 1: []}}}
    assert not run.callback_metrics  # that picture has no object
    assert not run.lightning_module.detector._forward_hooks
    alone = trainer(tmp_path, callbacks=[stability])
    alone.validate(Module(criterion), loader(1), verbose=False)
    assert not alone.callback_metrics


def test_a_target_may_have_several_queries_or_none() -> None:
    targets = Targets(torch.zeros(3).long(), torch.zeros(3, 4), (1, 0, 2))
    places = torch.tensor([[2, 0, 0], [5, 3, 1], [2, 0, 0]])
    assert answers(Matches(*places), targets) == [[[1, 3]], [], [[], [5]]]


def test_images_with_other_targets_than_before_are_not_compared() -> None:
    before = {1: {0: [[1]], 1: [[1]]}, 2: {0: [[4]]}, 3: {0: [[7], [8]]}}
    now = {1: {0: [[1]], 1: [[2]]}, 2: {0: [[4], [5]]}, 3: {0: [[7], [9]]}}
    assert changed(before, now) == {"changed_layer0": 1 / 3, "changed_layer1": 1.0}
    assert moved(now) == {"moved_layer1": 1.0}
    assert changed({}, now) == moved({}) == {}


def test_pictures_with_objects_are_chosen_from_the_whole_split(tmp_path: Path) -> None:
    assert spread(context(tmp_path).truth, 4) == []
    empty: Split = context(tmp_path).truth
    own = np.array([0, 1, 1, 2, 3, 4, 5])  # image 1 has no object, image 3 a crowd alone
    learnt = np.array([True, True, False, True, True])
    split = empty._replace(image_ids=np.arange(10, 16), starts=own, learnt=learnt)
    assert spread(split, 3) == [10, 14, 15]
    assert spread(split, 9) == [10, 12, 14, 15]
