"""Mistakes at a threshold, and the files about them."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_names import ODD_CLASSES
from PIL import Image
from test_callback import Guesser, callback, loader, trainer
from test_pairing import CATEGORIES, IMAGES, entry, guesses, objects

from detbox.annotations import Source, Split, read_coco
from detbox.evaluation.curves import RECALLS, Curve, best_threshold
from detbox.evaluation.metrics import UNDEFINED
from detbox.evaluation.mistakes import Mistakes, confusion, mistakes, worst
from detbox.evaluation.pairing import FALSE, IGNORED, found_of, pair, truth_of
from detbox.evaluation.report import MistakeReport
from detbox.evaluation.tables import draw_confusion, draw_curves, drawable, write_curves
from detbox.evaluation.worst import write_worst

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")


def judged(truth: list[dict], entries: list[dict], threshold: float | None = None) -> Mistakes:
    there = truth_of(truth, IMAGES)
    paired = pair(found_of(entries, IMAGES), there)
    return mistakes(
        paired, there, best_threshold(paired, there) if threshold is None else threshold
    )


def width(path: Path) -> int:
    with Image.open(path) as picture:
        return picture.width


def scene() -> Mistakes:
    """One object found, one taken for another class, one missed; one false, one in a crowd."""
    truth = [
        *(entry([0, 0, 10, 10]), entry([20, 0, 10, 10], 7), entry([40, 0, 10, 10], 8)),
        entry([60, 0, 30, 30], 8, iscrowd=1),
    ]
    entries = [
        *(entry([0, 0, 10, 10], score=0.9), entry([20, 0, 10, 10], 2, score=0.8)),
        *(entry([0, 0, 10, 9], score=0.7), entry([65, 5, 9, 9], 8, score=0.6)),
        entry([40, 0, 10, 10], 8, score=0.1),
    ]
    return judged(truth, entries, 0.5)


def test_what_was_taken_for_what() -> None:
    of = scene()
    assert of.right.tolist() == [0, FALSE, FALSE, IGNORED]
    assert of.wrong.tolist() == [FALSE, 1, FALSE, FALSE]
    assert of.missed.tolist() == [False, True, True, False]
    expected = [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]]
    assert confusion(of, CATEGORIES).tolist() == expected


@settings(deadline=None, max_examples=100)
@given(st.lists(objects, max_size=8), st.lists(guesses, max_size=14))
def test_everything_is_counted_once(truth: list[dict], entries: list[dict]) -> None:
    of = judged(truth, entries)
    matrix = confusion(of, CATEGORIES)
    wanted = [sum(not o["iscrowd"] for o in truth if o["category_id"] == c) for c in CATEGORIES]
    shown = of.found.categories[of.right != IGNORED]
    assert matrix[:-1].sum(1).tolist() == wanted
    assert matrix[:, :-1].sum(0).tolist() == [int((shown == c).sum()) for c in CATEGORIES]
    assert matrix[-1, -1] == 0
    assert np.trace(matrix) == (of.right >= 0).sum()
    every = worst(of, 9)
    assert sum(each.missed for each in every) == of.missed.sum()
    assert sum(each.false for each in every) == (of.right == FALSE).sum()
    assert [(each.missed + each.false) for each in every] == sorted(
        (each.missed + each.false for each in every), reverse=True
    )


def test_of_equally_bad_pictures_the_surest_mistake_comes_first() -> None:
    far = [50.0, 50, 5, 5]
    entries = [entry(far, image=i, score=s) for i, s in ((9, 0.6), (4, 0.9), (3, 0.6))]
    of = judged([entry([0, 0, 5, 5], image=9)], entries, 0.5)
    assert [(each.image_id, each.missed, each.false) for each in worst(of, 9)] == [
        *((9, 1, 1), (4, 0, 1), (3, 0, 1)),
    ]
    assert [each.image_id for each in worst(of, 1)] == [9]
    assert worst(judged([], [], 0.5), 5) == []


def test_a_run_leaves_curves_and_confusions(tmp_path: Path) -> None:
    first = callback(tmp_path)
    report = MistakeReport(first.evaluator, first.folder, first.figures)
    trainer(tmp_path, first, report, enable_checkpointing=False).fit(Guesser(), loader(), loader())
    names = ["confusion_matrix.csv", "confusion_matrix.png", "pr_curves.csv", "pr_curves.png"]
    assert sorted(p.name for files in first.figures.written.values() for p in files) == names
    with (first.folder / names[0]).open() as file:
        assert list(csv.reader(file)) == [
            ["true \\ found", "cat", "dog", "(background)"],
            *(["cat", "2", "0", "2"], ["dog", "0", "0", "0"], ["(background)", "2", "0", "0"]),
        ]
    with (first.folder / names[2]).open() as file:
        rows = list(csv.DictReader(file))
    assert {row["class"] for row in rows} == {"cat"}  # there is no dog
    assert first.figures.last is not None
    mean = sum(float(row["precision"]) for row in rows) / len(RECALLS)
    assert mean == pytest.approx(first.figures.last.AP50, abs=1e-5)
    for name in (names[1], names[3]):
        assert width(first.folder / name) > 300


def test_what_cannot_be_written_ends_no_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = callback(tmp_path)
    report = MistakeReport(first.evaluator, first.folder, first.figures)
    (first.folder / "pr_curves.csv").mkdir(parents=True)
    trainer(tmp_path, first, report).validate(Guesser(), loader(), verbose=False)
    assert "pr_curves and confusion_matrix cannot be written" in caplog.text


@pytest.mark.parametrize("count", [0, 1, 80])
def test_any_number_of_classes_is_drawn(count: int, tmp_path: Path) -> None:
    names = [*ODD_CLASSES, *map(str, range(80))][:count] if count > 1 else ["$_x"][:count]
    curves = [Curve(np.full(101, UNDEFINED if i % 7 == 3 else 0.5), RECALLS) for i in range(count)]
    shown = drawable(names, range(count))
    draw_curves(tmp_path / "c.png", curves, shown)
    draw_confusion(tmp_path / "m.png", np.eye(count + 1, dtype=int), shown, 0.5)
    write_curves(tmp_path / "c.csv", curves, names)
    assert width(tmp_path / "c.png") > 300
    assert width(tmp_path / "m.png") > 300


def split_of(truth: list[dict], folder: Path) -> Split:
    sizes = [{"id": i, "file_name": f"{i}.png", "width": 100, "height": 50} for i in IMAGES]
    named = [{"id": i, "name": str(i)} for i in CATEGORIES]
    content = {"images": sizes, "categories": named, "annotations": truth}
    path = folder / "truth.json"
    path.write_text(json.dumps(content))
    return read_coco(Source(folder, path))


def test_the_worst_pictures_are_drawn_and_listed(tmp_path: Path) -> None:
    split = split_of([entry([0, 0, 10, 10])], tmp_path)
    asked: list[int] = []

    def pictures(indices: Sequence[int]) -> list[torch.Tensor]:
        asked.extend(indices)
        return [torch.zeros(3, 25, 50, dtype=torch.uint8)] * len(indices)

    of, folder = scene(), tmp_path / "worst"
    files = write_worst(folder, of, split, 3, pictures)
    assert asked == [0]
    assert [path.name for path in files] == ["worst.csv", "01_image_3_missed_2_false_2.jpg"]
    with files[0].open() as file:
        (row,) = csv.DictReader(file)
    assert row == {
        **{"picture": files[1].name, "image_id": "3", "file": "3.png"},
        **{"missed": "2", "false": "2"},
    }
    with Image.open(files[1]) as drawn:
        assert drawn.size == (2 * 6 * 50 + 3 * 8, 6 * 25 + 2 * 8)  # two, enlarged, and gaps
        left, right = (drawn.getpixel((8 + at + 6 * 10, 8 + 1)) for at in (0, 6 * 50 + 8))
    assert min(left) > 150  # a missed object's upper edge on both sides
    assert max(right) > 100
    assert write_worst(folder, judged([], [], 0.5), split, 3, pictures) == []
    assert list(folder.iterdir()) == []
