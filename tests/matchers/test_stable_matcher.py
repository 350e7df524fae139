"""Stable-DINO's matching: the class only counts where the box is."""

from __future__ import annotations

import pytest
import torch
from scenes import CLASSES, random_boxes, random_predictions, random_targets
from torchvision import ops

from detbox import matchers  # noqa: F401  (importing registers)
from detbox.boxes import to_xyxy
from detbox.matchers.stable import position_scores
from detbox.registry import MATCHERS
from detbox.structures import Matches, Origin, PredictionSet, Targets

ONLY_CLASSES = {"class_weight": 1.0, "l1_weight": 0.0, "giou_weight": 0.0}


def match(predictions: PredictionSet, targets: Targets, name: str, **settings: float) -> Matches:
    """Matches of one set."""
    return MATCHERS.build({"name": name, **settings})([predictions], targets)[0]


def pairs(matches: Matches) -> set[tuple[int, int, int]]:
    """(image, query, target) of every pair."""
    return set(zip(*(index.tolist() for index in matches), strict=True))


def test_a_score_is_the_rescaled_giou_with_the_last_object_of_the_class() -> None:
    predictions, targets = random_predictions(2, 5), random_targets(3, 2)
    expected = torch.zeros(2, 5, CLASSES)
    for label, box in zip(targets.labels.tolist(), targets.boxes, strict=True):
        for image in range(2):
            boxes = to_xyxy(predictions.boxes[image])
            giou = ops.generalized_box_iou(boxes, to_xyxy(box[None]))[:, 0]
            expected[image, :, label] = (giou + 1) / 2
    expected /= expected.amax((1, 2), keepdim=True)
    found = position_scores(predictions, targets)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert len(set(targets.labels.tolist())) < len(targets.labels)


def test_without_power_it_is_the_hungarian_matcher() -> None:
    predictions, targets = random_predictions(2, 8), random_targets(4, 3)
    plain = pairs(match(predictions, targets, "hungarian"))
    assert pairs(match(predictions, targets, "stable", position_power=0.0)) == plain


def test_of_two_equally_sure_queries_the_nearer_one_is_matched() -> None:
    truth = torch.tensor([[0.3, 0.3, 0.2, 0.2]])
    boxes = torch.stack((truth[0] + torch.tensor([0.5, 0.5, 0.0, 0.0]), truth[0] + 0.01))[None]
    logits = torch.tensor([[[2.1, -5.0], [2.0, -5.0]]])
    predictions = PredictionSet(Origin(0, "match"), logits, boxes)
    targets = Targets(torch.tensor([0]), truth, (1,))
    assert match(predictions, targets, "stable", **ONLY_CLASSES).query.tolist() == [1]
    assert match(predictions, targets, "hungarian", **ONLY_CLASSES).query.tolist() == [0]


def test_a_set_is_matched_as_if_it_were_alone() -> None:
    targets, matcher = random_targets(3, 2), MATCHERS.build({"name": "stable"})
    far = random_predictions(2, 6, seed=5)._replace(boxes=random_boxes(2, 6, seed=9) * 0.01)
    sets = [random_predictions(2, 8), far]
    together = matcher(sets, targets)
    assert [pairs(each) for each in together] == [pairs(matcher([s], targets)[0]) for s in sets]


def test_a_class_agnostic_set_scores_all_objects_as_one_class() -> None:
    predictions = random_predictions(1, 8)._replace(class_agnostic=True)
    scores = position_scores(predictions, random_targets(3))
    assert scores[..., 0].all()
    assert not scores[..., 1:].any()


def test_a_batch_without_objects_has_no_matches() -> None:
    assert not pairs(match(random_predictions(2, 5), random_targets(0, 0), "stable"))


@pytest.mark.parametrize("size", [40.0, 200.0])
def test_certain_logits_keep_the_cost_finite(size: float) -> None:
    predictions = random_predictions(2, 5)
    sure = predictions._replace(logits=size * predictions.logits.sign())
    assert len(match(sure, random_targets(2, 2), "stable").query) == 4


def test_predictions_that_diverged_are_told() -> None:
    predictions = random_predictions(2, 5)
    predictions.boxes[0, 1] = torch.nan
    with pytest.raises(RuntimeError, match="training has diverged"):
        match(predictions, random_targets(2, 2), "stable")
