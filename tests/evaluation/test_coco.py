"""The evaluator against pycocotools itself and against the official reference figures."""

from __future__ import annotations

import json
import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.console import Console
from torchvision.ops import batched_nms

from detbox.annotations import Source, Split, read_coco
from detbox.evaluation.coco import CocoEvaluator
from detbox.evaluation.metrics import UNDEFINED, tables
from detbox.evaluation.score import ground_truth, score
from detbox.figures import CocoMetrics
from detbox.postprocess import select
from detbox.structures import Detections, LabelSpace

REFERENCE = Path(__file__).parents[3] / "shared/data/coco_eval_reference"
CATEGORIES = [{"id": 7, "name": "bus"}, {"id": 2, "name": "cat"}, {"id": 9, "name": "dog"}]
SPACE = LabelSpace.from_categories(CATEGORIES)


def random_data(images: int = 6, seed: int = 0) -> dict[str, Any]:
    """Random ground truth of all sizes, with crowds; the last image is empty."""
    random = torch.Generator().manual_seed(seed)
    boxes: list[dict[str, Any]] = []
    for image in range(images - 1):
        for _ in range(5):
            x, y, w, h, pick, crowd = (torch.rand(6, generator=random) * 150).tolist()
            boxes.append(
                {
                    "id": len(boxes) + 1,
                    "image_id": 10 + image,
                    "category_id": CATEGORIES[int(pick) % 3]["id"],
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": int(crowd > 140),
                }
            )
    ids = range(10, 10 + images)
    size = {"width": 300, "height": 300}
    named = [{"id": i, "file_name": f"{i}.jpg", **size} for i in ids]
    return {"info": {}, "images": named, "categories": CATEGORIES, "annotations": boxes}


def write(folder: Path, data: Any) -> Path:
    path = folder / "annotations.json"
    path.write_text(json.dumps(data))
    return path


def read(path: Path) -> Split:
    return read_coco(Source(path.parent, path))


def scored(truth: Path, results: Path) -> CocoMetrics:
    """The figures of a COCO results file."""
    split = read(truth)
    entries = json.loads(results.read_text())
    return score(ground_truth(split), entries, sorted(split.image_ids.tolist()))


def guesses(data: dict[str, Any], image: int, seed: int = 0) -> Detections:
    """Jittered ground truth of one image among noise, best first."""
    random = torch.Generator().manual_seed(seed + image)
    own = [entry for entry in data["annotations"] if entry["image_id"] == image]
    boxes = torch.tensor([entry["bbox"] for entry in own]).reshape(-1, 4)
    labels = [SPACE.category_ids.index(entry["category_id"]) for entry in own]
    boxes = boxes + torch.randn(boxes.shape, generator=random) * 4
    noise = torch.rand(6, 4, generator=random) * 100
    boxes = torch.cat((boxes, boxes[:2] + 1, noise))
    boxes[:, 2:] = boxes[:, :2] + boxes[:, 2:].abs()
    every = torch.tensor([*labels, *labels[:2], *[0, 1, 2] * 2])
    scores = torch.rand(len(boxes), generator=random).sort(descending=True).values
    return Detections(boxes, scores, every)


def evaluator_with(data: dict[str, Any], folder: Path, images: list[int]) -> CocoEvaluator:
    evaluator = CocoEvaluator(read(write(folder, data)), SPACE)
    evaluator.update(images, [guesses(data, image) for image in images])
    return evaluator


def by_pycocotools(path: Path, results: list[dict]) -> list[float]:
    with redirect_stdout(StringIO()):
        truth = COCO(str(path))
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats.tolist()


def twelve(metrics: CocoMetrics) -> list[float]:
    return list(metrics[:12])


@pytest.mark.parametrize("images", [range(10, 16), range(10, 14), [15, 11]])
def test_figures_equal_pycocotools(tmp_path: Path, images: Any) -> None:
    evaluator = evaluator_with(random_data(), tmp_path, list(images))
    expected = by_pycocotools(tmp_path / "annotations.json", evaluator.results())
    assert twelve(evaluator.compute()) == expected


def test_official_reference_is_reproduced_from_its_file() -> None:
    truth, results, expected = reference_files()
    found = scored(truth, results)
    assert [f"{value:.3f}" for value in twelve(found)] == expected
    assert found.images == 100
    assert twelve(found) == by_pycocotools(truth, json.loads(results.read_text()))


def test_official_reference_is_reproduced_from_detections() -> None:
    truth, results, expected = reference_files()
    space = LabelSpace.from_categories(json.loads(truth.read_text())["categories"])
    per_image: dict[int, list[dict]] = {}
    for entry in json.loads(results.read_text()):
        per_image.setdefault(entry["image_id"], []).append(entry)
    evaluator = CocoEvaluator(read(truth), space)
    for image, entries in per_image.items():
        boxes = torch.tensor([entry["bbox"] for entry in entries])
        boxes[:, 2:] += boxes[:, :2]
        scores = torch.tensor([entry["score"] for entry in entries])
        labels = [space.category_ids.index(entry["category_id"]) for entry in entries]
        evaluator.update([image], [Detections(boxes, scores, torch.tensor(labels))])
    assert [f"{value:.3f}" for value in twelve(evaluator.compute())] == expected
    assert len(per_image) == 99  # the reference's trap: one image has no detection
    assert twelve(evaluator.compute(seen_only=True)) != twelve(evaluator.compute())


def reference_files() -> tuple[Path, Path, list[str]]:
    truth = REFERENCE / "instances_val2014_100.json"
    if not truth.is_file():
        pytest.skip(f"no reference figures at {REFERENCE}")
    printed = (REFERENCE / "val2014_fake_eval_res.txt").read_text().split("type=bbox")[1]
    figures = re.findall(r"\] = (\d\.\d{3})", printed)[:12]
    return truth, REFERENCE / "instances_val2014_fakebbox100_results.json", figures


def test_results_file_gives_the_figures_of_its_detections(tmp_path: Path) -> None:
    evaluator = evaluator_with(random_data(), tmp_path, list(range(10, 16)))
    results = tmp_path / "results.json"
    results.write_text(json.dumps(evaluator.results()))
    assert scored(tmp_path / "annotations.json", results) == evaluator.compute()


def test_results_speak_in_original_ids_and_pixels(tmp_path: Path) -> None:
    evaluator = CocoEvaluator(read(write(tmp_path, random_data())), SPACE)
    box = torch.tensor([[1.25, 2.5, 11.5, 4.75]])
    evaluator.update([12], [Detections(box, torch.tensor([0.5]), torch.tensor([1]))])
    entry = {"image_id": 12, "category_id": 7, "bbox": [1.25, 2.5, 10.25, 2.25], "score": 0.5}
    assert evaluator.results() == [entry]


def test_an_image_that_comes_twice_counts_once(tmp_path: Path) -> None:
    data = random_data()
    evaluator = evaluator_with(data, tmp_path, list(range(10, 16)))
    once = evaluator.compute()
    evaluator.update([10, 12], [guesses(data, 10), guesses(data, 12, seed=5)])
    assert evaluator.compute() == once


def test_order_of_images_does_not_matter(tmp_path: Path) -> None:
    forward = evaluator_with(random_data(), tmp_path, list(range(10, 16))).results()
    assert evaluator_with(random_data(), tmp_path, list(range(15, 9, -1))).results() == forward


def test_images_without_detections_lower_the_figures(tmp_path: Path) -> None:
    evaluator = evaluator_with(random_data(), tmp_path, [10, 11])
    assert evaluator.compute().AR100 < evaluator.compute(seen_only=True).AR100
    assert evaluator.compute(seen_only=True).images == 2


def test_no_detections_give_zeros(tmp_path: Path) -> None:
    evaluator = CocoEvaluator(read(write(tmp_path, random_data())), SPACE)
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    for image in (None, 10):
        if image is not None:
            evaluator.update([image], [nothing])
        assert set(evaluator.compute().scalars().values()) == {0.0}


@pytest.mark.parametrize("drop", [True, False])
def test_a_file_without_annotations_says_so_and_gives_undefined(tmp_path: Path, drop: bool) -> None:
    data = {**random_data(), "annotations": []}
    if drop:
        del data["annotations"]
    evaluator = CocoEvaluator(read(write(tmp_path, data)), SPACE)
    assert "all figures are undefined" in evaluator.split.summary()
    found = torch.tensor([[0.0, 0, 9, 9]])
    evaluator.update([10], [Detections(found, torch.tensor([0.5]), torch.tensor([0]))])
    assert set(evaluator.compute().scalars().values()) == {UNDEFINED}
    assert len(evaluator.results()) == 1


def test_incomplete_files_give_the_same_figures(tmp_path: Path) -> None:
    data = random_data()
    for entry in data["annotations"]:
        entry["iscrowd"] = 0
    images = list(range(10, 16))
    expected = evaluator_with(data, tmp_path, images).compute()
    del data["info"]
    for entry in data["annotations"]:
        entry["iscrowd"] = entry["area"] = None
    assert evaluator_with(data, tmp_path, images).compute() == expected
    for entry in data["annotations"]:
        del entry["iscrowd"], entry["area"], entry["id"]
    assert evaluator_with(data, tmp_path, images).compute() == expected


def test_an_annotation_with_id_zero_can_be_found(tmp_path: Path) -> None:
    data = random_data()
    expected = evaluator_with(data, tmp_path, [10, 11]).compute()
    for entry in data["annotations"]:
        entry["id"] -= 1
    assert evaluator_with(data, tmp_path, [10, 11]).compute() == expected


@pytest.mark.parametrize(
    "broken",
    [
        {"bbox": []},
        {"bbox": None},
        {"bbox": ["left", 0, 1, 1]},
        {"bbox": [0, 0, float("nan"), 1]},
        {"image_id": None},
        {"image_id": 99},
        {"category_id": None},
    ],
)
def test_broken_annotations_change_no_figure_and_are_counted(tmp_path: Path, broken: dict) -> None:
    data, images = random_data(), list(range(10, 16))
    expected = evaluator_with(data, tmp_path, images).compute()
    entry = {"id": 99, "image_id": 10, "category_id": 7, "bbox": [0, 0, 1, 1], **broken}
    stripped = {key: value for key, value in entry.items() if value is not None}
    data_with = {**data, "annotations": [*data["annotations"], entry, stripped]}
    evaluator = CocoEvaluator(read(write(tmp_path, data_with)), SPACE)
    evaluator.update(images, [guesses(data, image) for image in images])
    assert evaluator.compute() == expected
    assert sum(f.number for f in evaluator.split.findings if "dropped" in f.what) == 2


def test_class_figures_average_to_the_whole(tmp_path: Path) -> None:
    found = evaluator_with(random_data(), tmp_path, list(range(10, 16))).compute()
    assert [entry.category_id for entry in found.classes] == [2, 7, 9]
    assert [entry.name for entry in found.classes] == ["cat", "bus", "dog"]
    assert sum(entry.AP for entry in found.classes) / 3 == pytest.approx(found.AP)
    assert sum(entry.AP50 for entry in found.classes) / 3 == pytest.approx(found.AP50)


def test_suppression_undoes_duplicates(tmp_path: Path) -> None:
    box = {"category_id": 2, "bbox": [0, 0, 10, 10]}
    truth = [{"image_id": image, **box} for image in range(10, 16)]
    evaluator = CocoEvaluator(read(write(tmp_path, {**random_data(), "annotations": truth})), SPACE)
    twins = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9]])
    for image in range(10, 16):
        scores = torch.tensor([0.9, 0.8]) - image / 50
        evaluator.update([image], [Detections(twins, scores, torch.tensor([0, 0]))])
    found = evaluator.compute()
    assert found.AP50_nms == pytest.approx(1.0)
    assert found.AP50_nms > found.AP50


def by_class(found: Detections) -> Detections:
    return select(found, batched_nms(found.boxes, found.scores, found.labels, 0.6))


def test_suppressed_figure_is_ap50_of_suppressed_detections(tmp_path: Path) -> None:
    data, images = random_data(), list(range(10, 16))
    evaluator = evaluator_with(data, tmp_path, images)
    fewer = CocoEvaluator(read(tmp_path / "annotations.json"), SPACE)
    fewer.update(images, [by_class(guesses(data, image)) for image in images])
    assert len(fewer.results()) < len(evaluator.results())
    assert evaluator.compute().AP50_nms == pytest.approx(fewer.compute().AP50)


def test_evaluation_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluator_with(random_data(), tmp_path, [10]).compute()
    assert capsys.readouterr().out == ""


def test_unknown_images_are_refused(tmp_path: Path) -> None:
    data = random_data()
    evaluator = CocoEvaluator(read(write(tmp_path, data)), SPACE)
    with pytest.raises(ValueError, match="no image 99"):
        evaluator.update([99], [guesses(data, 10)])


def test_another_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"share no class name: .*cat, bus, dog, .* car;"):
        CocoEvaluator(read(write(tmp_path, random_data())), LabelSpace(("car",), (7,)))


def categories_found(folder: Path, categories: list[tuple[int, str]], space: LabelSpace) -> list:
    """Category ids in the results of a detector that finds one object of every class."""
    listed = [{"id": number, "name": name} for number, name in categories]
    data = {**random_data(), "categories": listed, "annotations": []}
    evaluator = CocoEvaluator(read(write(folder, data)), space)
    every = torch.arange(len(space))
    boxes = torch.tensor([[0.0, 0, 9, 9]]).expand(len(space), 4)
    evaluator.update([10], [Detections(boxes, torch.ones(len(space)), every)])
    assert evaluator.compute().images == 6
    return [entry["category_id"] for entry in evaluator.results()]


def test_classes_that_the_file_lacks_are_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    many = LabelSpace(("tram", *(f"thing{i}" for i in range(77)), "dog", "cat"), tuple(range(80)))
    assert categories_found(tmp_path, [(7, "bus"), (2, "cat"), (9, "dog")], many) == [9, 2]
    assert "lacks 78 of the detector's 80 classes" in caplog.text
    assert "tram, thing0" in caplog.text
    assert "does not know" not in caplog.text  # bus and dog have no object


def test_objects_of_classes_that_the_detector_lacks_are_said_to_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = random_data()
    CocoEvaluator(read(write(tmp_path, data)), LabelSpace(("cat",), (7,)))
    assert "has 2 classes that the detector does not know, which count as" in caplog.text


def test_a_name_that_two_categories_share_is_told_apart_by_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    space = LabelSpace(("car", "car"), (0, 1))
    assert categories_found(tmp_path, [(1, "car"), (0, "car"), (2, "bus")], space) == [0, 1]
    assert "lacks" not in caplog.text
    elsewhere = [(1, "car"), (5, "car"), (3, "bus")]
    mixed = LabelSpace(("car", "car", "bus"), (0, 1, 2))
    assert categories_found(tmp_path, elsewhere, mixed) == [1, 3]
    assert "lacks 1 of the detector's 3 classes" in caplog.text


@pytest.mark.parametrize("copies", [1, 20])
def test_tables_show_every_class_within_80_columns(tmp_path: Path, copies: int) -> None:
    found = evaluator_with(random_data(), tmp_path, [10, 15]).compute()
    console = Console(width=80, file=StringIO())
    with console.capture() as captured:
        console.print(tables(found._replace(classes=found.classes * copies)))
    text = captured.get()
    assert all(text.count(name) == copies for name in SPACE.names)
    assert all(name in text for name in found.scalars() if not name.endswith("_all"))
    assert f"{found.AP:.3f}" in text
    assert "…" not in text


def test_a_file_with_other_ids_is_matched_by_name(tmp_path: Path) -> None:
    categories = [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}]
    box = [10.0, 10.0, 20.0, 20.0]
    truth = {
        "images": [{"id": 1, "file_name": "1.jpg", "height": 64, "width": 64}],
        "categories": categories,
        "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": box}],
    }
    file = tmp_path / "truth.json"
    file.write_text(json.dumps(truth))
    evaluator = CocoEvaluator(read(file), LabelSpace(("cat", "dog"), (3, 7)))
    found = Detections(torch.tensor([[10.0, 10.0, 30.0, 30.0]]), torch.ones(1), torch.tensor([0]))
    evaluator.update([1], [found])
    assert evaluator.results()[0]["category_id"] == 7
    assert evaluator.compute().scalars()["AP"] == pytest.approx(1.0)


def test_what_comes_behind_the_first_hundred_counts_in_rows_of_its_own(tmp_path: Path) -> None:
    places = [[20.0 * (i % 15), 20.0 * (i // 15), 10.0, 10.0] for i in range(150)]
    truth = {
        "images": [{"id": 1, "file_name": "1.jpg", "height": 300, "width": 300}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [
            {"id": i + 1, "image_id": 1, "category_id": 1, "bbox": box}
            for i, box in enumerate(places)
        ],
    }
    file = tmp_path / "truth.json"
    file.write_text(json.dumps(truth))
    evaluator = CocoEvaluator(read(file), LabelSpace(("cell",), (1,)))
    boxes = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in places])
    labels = torch.zeros(150, dtype=torch.int64)
    evaluator.update([1], [Detections(boxes, torch.linspace(1, 0.5, 150), labels)])
    found = evaluator.compute()
    assert pytest.approx(100 / 150) == found.AR100
    assert pytest.approx(67 / 101) == found.AP  # recall points up to two thirds
    assert found.AR_all == pytest.approx(1)
    assert found.AP_all == pytest.approx(1)
    assert found.most == 150
    console = Console(width=80, file=StringIO())
    with console.capture() as captured:
        console.print(tables(found))
    assert "all 150" in captured.get()
