"""Pairs, curves and duplicates against pycocotools."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.cocoeval import COCOeval
from test_coco import SPACE, random_data, read, reference_files, write

from detbox.evaluation.coco import CocoEvaluator
from detbox.evaluation.curves import RECALLS, best_threshold, curves
from detbox.evaluation.duplicates import advice, suppressed, suppressed_ap50
from detbox.evaluation.metrics import UNDEFINED, mean
from detbox.evaluation.pairing import FALSE, IGNORED, Found, Paired, found_of, pair, truth_of
from detbox.evaluation.score import index
from detbox.figures import SCALARS, CocoMetrics

IMAGES, CATEGORIES = [3, 4, 9], [2, 7, 8]

side = st.integers(1, 12).map(float)
places = st.tuples(st.integers(0, 8).map(float), st.integers(0, 8).map(float), side, side).map(list)
owners = {"image_id": st.sampled_from(IMAGES), "category_id": st.sampled_from(CATEGORIES)}
objects = st.fixed_dictionaries({**owners, "bbox": places, "iscrowd": st.integers(0, 1)})
guesses = st.fixed_dictionaries(
    {**owners, "bbox": places, "score": st.sampled_from([0.1, 0.5, 0.5000001, 0.9])}
)


def by_pycocotools(truth: list[dict], entries: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Precision and scores at IoU 0.5, (R, K)."""
    named = [{"id": each, "name": str(each)} for each in CATEGORIES]
    images = [{"id": each} for each in IMAGES]
    area = [{**e, "id": i, "area": 1.0} for i, e in enumerate(truth, 1)]
    found = [{**e, "id": i, "area": 1.0, "iscrowd": 0} for i, e in enumerate(entries, 1)]
    with redirect_stdout(StringIO()):
        evaluation = COCOeval(index(images, named, area), index(images, named, found), "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.evaluate()
        evaluation.accumulate()
    precision, scores = evaluation.eval["precision"], evaluation.eval["scores"]
    return precision[0, :, :, 0, -1], scores[0, :, :, 0, -1]


@settings(deadline=None, max_examples=100)
@given(st.lists(objects, max_size=8), st.lists(guesses, max_size=14))
def test_curves_are_those_of_pycocotools(truth: list[dict], entries: list[dict]) -> None:
    there = truth_of(truth, IMAGES)
    ours = curves(pair(found_of(entries, IMAGES), there), there, CATEGORIES)
    precision, scores = by_pycocotools(truth, entries)
    np.testing.assert_allclose(np.array([c.precision for c in ours]).T, precision, atol=1e-9)
    reached = (precision > 0) & (RECALLS[:, None] > 0)  # at 0 it may be one in a crowd region
    np.testing.assert_array_equal(np.array([c.scores for c in ours]).T[reached], scores[reached])


def test_the_official_reference_is_reproduced() -> None:
    truth, results, expected = reference_files()
    content, entries = json.loads(truth.read_text()), json.loads(results.read_text())
    ids = [each["id"] for each in content["images"]]
    there = truth_of(content["annotations"], ids)
    categories = sorted(each["id"] for each in content["categories"])
    found = curves(pair(found_of(entries, ids), there), there, categories)
    assert f"{mean(np.array([each.precision for each in found])):.3f}" == expected[1]


def entry(box: list[float], category: int = 2, image: int = 3, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": box, "iscrowd": 0, **more}


def test_crowds_take_any_number_and_behind_a_hundred_nothing_counts() -> None:
    there = truth_of([entry([0, 0, 10, 10], iscrowd=1), entry([0, 0, 4, 4])], IMAGES)
    many = [entry([0, 0, 4, 4], score=0.9 - 0.001 * i) for i in range(150)]
    paired = pair(found_of(many, IMAGES), there)
    assert paired.objects.tolist() == [1] + [IGNORED] * 99
    assert pair(found_of([entry([0, 0, 4, 4], 7, score=0.5)], IMAGES), there).objects == [FALSE]


def test_only_duplicates_of_a_class_and_an_image_are_suppressed() -> None:
    box, near = [0.0, 0, 10, 10], [0.0, 0, 10, 9]
    entries = [
        *(entry(box, score=0.5), entry(near, score=0.4), entry(near, 7, score=0.3)),
        *(entry(near, image=4, score=0.2), entry([30.0, 0, 10, 10], score=0.1)),
    ]
    assert suppressed(found_of(entries, IMAGES)).scores.tolist() == [0.5, 0.3, 0.2, 0.1]
    truth = [entry(box), entry(box, image=4)]
    assert suppressed_ap50(truth, CATEGORIES, entries, IMAGES) == pytest.approx(1)
    assert suppressed_ap50(truth, CATEGORIES, [], IMAGES) == 0
    assert suppressed_ap50([], CATEGORIES, entries, IMAGES) == UNDEFINED


def test_the_best_threshold_shows_equal_scores_together() -> None:
    there = truth_of([entry([0, 0, 4, 4]), entry([9, 9, 4, 4])], IMAGES)

    def threshold(scores: list[float], found: list[int]) -> float:
        count = len(scores)
        columns = np.full(count, 3), np.full(count, 2), np.zeros((count, 4)), np.array(scores)
        return best_threshold(Paired(Found(*columns), np.array(found, dtype=int)), there)

    assert threshold([0.9, 0.8, 0.7], [0, 1, FALSE]) == 0.8
    assert threshold([0.9, 0.8, 0.7, 0.7, 0.7], [0, FALSE, 1, FALSE, FALSE]) == 0.9
    assert threshold([0.9, 0.8, 0.7], [FALSE, IGNORED, FALSE]) == 0.9
    assert threshold([], []) == 0.5


def test_much_lost_to_duplicates_is_told_with_a_setting_that_is_there() -> None:
    figures = CocoMetrics._make([*[0.5] * len(SCALARS), 4, 10, ()])
    lost = figures._replace(AP50_nms=0.88)
    assert advice(figures, {"class": 1.0}) == ""
    assert advice(figures._replace(AP50_nms=None), {"class": 1.0}) == ""
    assert advice(lost, {"class": 1.0}) == (
        "NMS 0.6 would give +0.38 AP50: the last layers have not learned to suppress duplicates; "
        "train longer or raise criterion.weights.class (now 1)"
    )
    assert advice(lost, {"score": 1.0}).endswith("duplicates; train longer")


def test_without_nms_there_is_no_such_figure(tmp_path: Path) -> None:
    split = read(write(tmp_path, random_data()))
    assert "AP50_nms" not in CocoEvaluator(split, SPACE, nms=False).compute().scalars()
