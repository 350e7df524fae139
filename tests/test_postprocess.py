"""What post-processing promises, and its parity with the recorded official numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scenes import FIRST
from torch import Tensor

from detbox.boxes import to_xyxy
from detbox.postprocess import Postprocess, SoftmaxPostprocess, select, suppress
from detbox.structures import Detections, PredictionSet

GOLDENS = Path(__file__).parents[2] / "shared/goldens/dino/unit_loss_match_post.safetensors"


def prediction(batch: int = 2, queries: int = 5, classes: int = 3) -> PredictionSet:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(batch, queries, classes, generator=generator)
    return PredictionSet(FIRST, logits, torch.rand(batch, queries, 4, generator=generator))


def sizes(*pairs: tuple[int, int]) -> Tensor:
    return torch.tensor(pairs)


@pytest.mark.parametrize(
    ("case", "num_select", "nms_iou"),
    [("plain", 20, None), ("all", 14 * 7, None), ("nms05", 60, 0.5)],
)
def test_official_numbers_are_reproduced(case: str, num_select: int, nms_iou: float | None) -> None:
    if not GOLDENS.is_file():
        pytest.skip(f"no recorded numbers at {GOLDENS}")
    stored = pytest.importorskip("safetensors.torch").load_file(GOLDENS)
    queries = PredictionSet(FIRST, stored["match.pred_logits"], stored["match.pred_boxes"])
    found = Postprocess(num_select, nms_iou)(queries, stored["post.sizes_hw"])
    for image, detections in enumerate(found):
        start = f"post.{case}.image.{image}"
        assert torch.equal(detections.labels, stored[f"{start}.labels"])
        torch.testing.assert_close(detections.scores, stored[f"{start}.scores"])
        torch.testing.assert_close(detections.boxes, stored[f"{start}.boxes"])


def test_detections_equal_a_search_pair_by_pair() -> None:
    queries = prediction()
    for image, found in enumerate(Postprocess(7)(queries, sizes((40, 80), (30, 20)))):
        scale = torch.tensor([[80, 40, 80, 40], [20, 30, 20, 30]][image])
        pairs = [(queries.logits[image, q, k].item(), q, k) for q in range(5) for k in range(3)]
        best = sorted(pairs, reverse=True)[:7]
        assert found.labels.tolist() == [label for _, _, label in best]
        boxes = to_xyxy(queries.boxes[image, [query for _, query, _ in best]]) * scale
        torch.testing.assert_close(found.boxes, boxes)


def test_scores_fall() -> None:
    for found in Postprocess()(prediction(), sizes((8, 9), (9, 8))):
        assert torch.equal(found.scores, found.scores.sort(descending=True).values)


def test_fewer_pairs_than_asked_for_give_all_pairs() -> None:
    assert len(Postprocess(300)(prediction(), sizes((8, 9), (9, 8)))[0].scores) == 15


def test_boxes_may_leave_the_image() -> None:
    queries = PredictionSet(FIRST, torch.zeros(1, 1, 1), torch.tensor([[[0.0, 1.0, 0.5, 0.5]]]))
    (found,) = Postprocess()(queries, sizes((100, 200)))
    assert found.boxes.tolist() == [[-50.0, 75.0, 50.0, 125.0]]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_precision_never_falls_below_float32(given: torch.dtype, expected: torch.dtype) -> None:
    queries = prediction()
    low = queries._replace(logits=queries.logits.to(given), boxes=queries.boxes.to(given))
    found = Postprocess()(low, sizes((8, 9), (9, 8)))[0]
    assert found.scores.dtype == found.boxes.dtype == expected


def test_suppression_leaves_no_overlap_between_any_classes() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]])
    kept = suppress(Detections(boxes, torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0, 1, 0])), 0.6)
    assert kept.boxes.tolist() == boxes[[0, 2]].tolist()
    assert kept.labels.tolist() == [0, 0]


def test_selection_keeps_fields_together() -> None:
    found = Postprocess()(prediction(), sizes((8, 9), (9, 8)))[0]
    some = select(found, found.scores >= found.scores[3])
    assert len(some.boxes) == len(some.scores) == len(some.labels) == 4


def test_softmax_gives_each_query_its_best_class_but_never_no_object() -> None:
    queries = prediction(classes=4)
    for image, found in enumerate(SoftmaxPostprocess()(queries, sizes((40, 80), (30, 20)))):
        scale = torch.tensor([[80, 40, 80, 40], [20, 30, 20, 30]][image])
        shares = queries.logits[image].softmax(-1)[:, :3]
        order = shares.max(-1).values.argsort(descending=True)
        torch.testing.assert_close(found.scores, shares.max(-1).values[order])
        assert found.labels.tolist() == shares.argmax(-1)[order].tolist()
        torch.testing.assert_close(found.boxes, to_xyxy(queries.boxes[image, order]) * scale)


def test_softmax_can_be_followed_by_suppression() -> None:
    twins = PredictionSet(FIRST, torch.zeros(1, 2, 3), torch.full((1, 2, 4), 0.5))
    assert len(SoftmaxPostprocess()(twins, sizes((8, 9)))[0].scores) == 2
    assert len(SoftmaxPostprocess(nms_iou=0.5)(twins, sizes((8, 9)))[0].scores) == 1


@pytest.mark.parametrize(("num_select", "nms_iou"), [(0, None), (300, 1.5)])
def test_impossible_settings_are_refused(num_select: int, nms_iou: float | None) -> None:
    with pytest.raises(ValueError, match="got"):
        Postprocess(num_select, nms_iou)
