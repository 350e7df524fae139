"""Annotations: what is kept, dropped, mended, refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from coco_files import SHARED, WriteSplit, box, image

from detbox.annotations import Source, Split, read_coco
from detbox.annotations.files import with_files_found
from detbox.boxes import to_xyxy


def read(root: Path) -> Split:
    return read_from(root / "train", root / "annotations" / "instances_train.json")


def read_from(folder: Path, file: Path) -> Split:
    return with_files_found(read_coco(Source(folder, file)), folder, "train")


@pytest.mark.parametrize(("ids", "known"), [((7, 3, 9), [3, 9]), ((7, "b", None), [1, 2])])
def test_objects_keep_the_numbers_of_their_file(
    write_split: WriteSplit, ids: tuple, known: list[int]
) -> None:
    owners = (9, 1, 1)  # the first is of no image
    boxes = [box(n, owner, [1, n, 5, 5]) for n, owner in enumerate(owners)]
    for entry, number in zip(boxes, ids, strict=True):
        entry["id"] = number
    split = read(write_split(annotations=boxes))
    assert split.object_ids.tolist() == known
    assert split.of_images([0, 0]).object_ids.tolist() == known * 2


@pytest.mark.parametrize("ids", [(0, 1, 2), (1, 2, 3), (7, 90, 13)])
def test_any_category_ids_become_contiguous_labels(write_split: WriteSplit, ids: tuple) -> None:
    categories = [{"id": number, "name": f"class {number}"} for number in ids]
    boxes = [box(n, 1, [1, 1, 5, 5], category_id=number) for n, number in enumerate(ids)]
    split = read(write_split(categories=categories, annotations=boxes))

    labels, _ = split.objects(0)
    assert sorted(labels.tolist()) == [0, 1, 2]
    names = [split.label_space.names[label] for label in labels]
    assert names == [f"class {number}" for number in ids]


def test_boxes_are_shares_of_the_annotated_size(write_split: WriteSplit) -> None:
    split = read(write_split(annotations=[box(1, 1, [16, 12, 32, 24])]))
    torch.testing.assert_close(split.objects(0)[1], torch.tensor([[0.5, 0.5, 0.5, 0.5]]))


def test_objects_stay_with_their_image_whatever_their_order(write_split: WriteSplit) -> None:
    images = [image(5), image(3), image(9)]
    owners = [9, 5, 9, 5, 9]
    boxes = [box(n, owner, [owner, 1, 4, 4]) for n, owner in enumerate(owners)]
    split = read(write_split(images=images, annotations=boxes))
    for index, owner in enumerate((5, 3, 9)):
        left = (split.objects(index)[1][:, 0] - split.objects(index)[1][:, 2] / 2) * 64
        assert left.round().tolist() == [owner] * owners.count(owner)


def test_crowd_regions_never_become_targets(write_split: WriteSplit) -> None:
    boxes = [box(1, 1, [1, 1, 5, 5], iscrowd=1), box(2, 1, [2, 2, 5, 5])]
    split = read(write_split(annotations=boxes))
    assert split.num_boxes == len(split.objects(0)[0]) == 1
    assert split.crowd.tolist() == [True, False]
    assert "1 crowd region left out (first: annotation 1, 0001.png)" in split.summary()


def test_defects_are_mended_counted_and_named(write_split: WriteSplit) -> None:
    boxes = [
        box(10, 1, [1, 1, 0, 0]),
        box(11, 1, [1, 1, 8, 0]),
        box(12, 1, [70, 1, 8, 8]),
        box(13, 1, [60, 40, 20, 20]),
        box(14, 99, [1, 1, 8, 8]),
        box(15, 1, [1, 1, 8, 8], category_id=44),
        box(16, 1, [1, 1, 8, 8], bbox=[1, 2]),
        box(17, 1, [1, 1, 8, float("nan")]),
    ]
    split = read(write_split(annotations=boxes, images=[image(1), image(2)]))

    corners = to_xyxy(split.objects(0)[1])
    torch.testing.assert_close(corners, torch.tensor([[60 / 64, 40 / 48, 1.0, 1.0]]))
    assert split.boxes[3].tolist() == [60, 40, 20, 20]  # as scoring sees it
    assert any(finding.defect for finding in split.findings)
    for claim in (
        "instances_train.json: 2 images, 1 box",
        "2 zero-area boxes dropped (first: annotation 10, 0001.png)",
        "1 box outside the image dropped (first: annotation 12",
        "1 box clipped to the image (first: annotation 13",
        "1 box of unknown images dropped (first: annotation 14, no image",
        "1 box of unknown categories dropped (first: annotation 15",
        "2 annotations without a valid bbox dropped (first: annotation 16",
        "1 image without boxes kept (first: 0002.png)",
    ):
        assert claim in split.summary()


def test_missing_files_are_counted_at_the_start(write_split: WriteSplit) -> None:
    gone = write_split() / "train" / "deep" / "er" / "a.png"
    gone.parent.mkdir(parents=True)
    root = write_split(images=[image(1), image(2) | {"file_name": "deep/er/a.png"}])
    gone.unlink()
    assert read(root).path(1) == gone
    assert "1 image file missing (first: deep/er/a.png)" in read(root).summary()


def test_files_in_subfolders_are_found(write_split: WriteSplit) -> None:
    (write_split() / "train" / "deep" / "er").mkdir(parents=True)
    split = read(write_split(images=[image(1) | {"file_name": "deep/er/a.png"}]))
    assert split.path(0).is_file()
    assert "missing" not in split.summary()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"images": []}, "'images' is empty"),
        ({"categories": []}, "'categories' is empty"),
        ({"categories": None}, "lacks 'categories'"),
        ({"categories": [{"id": 1}]}, r"categories\[0\] \(id 1\): 'name' is missing"),
        ({"categories": [{"id": 1, "name": "a"}] * 2}, "category ids must be unique"),
        (
            {"images": [image(1), image(1) | {"file_name": "b.png"}]},
            r"image ids must be unique, 1 are repeated \(first: 1 of images\[0\] and \[1\]\)",
        ),
        ({"annotations": ["box"]}, "'annotations' to hold objects only"),
    ],
)
def test_a_file_that_is_no_coco_file_is_refused(
    write_split: WriteSplit, fields: dict, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        read(write_split(**fields))


def test_an_image_without_a_size_is_refused(write_split: WriteSplit) -> None:
    root = write_split()
    file = root / "annotations" / "instances_train.json"
    document = json.loads(file.read_text())
    del document["images"][0]["width"]
    file.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"images\[0\] \(id 1\): 'width' is missing"):
        read(root)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_ids_as_text_and_any_encoding_are_read(write_split: WriteSplit, encoding: str) -> None:
    categories = [{"id": "7", "name": "Käfer"}]
    boxes = [box(1, 1, [1, 1, 5, 5], category_id="7") | {"image_id": "1"}]
    root = write_split(images=[image(1) | {"id": "1"}], categories=categories, annotations=boxes)
    file = root / "annotations" / "instances_train.json"
    text = json.dumps(json.loads(file.read_text()), ensure_ascii=False)
    file.write_text(text, encoding=encoding)
    split = read(root)
    assert split.label_space.names == ("Käfer",)
    assert (split.image_ids.tolist(), split.num_boxes) == ([1], 1)


def test_malformed_json_is_named(write_split: WriteSplit) -> None:
    root = write_split()
    (root / "annotations" / "instances_train.json").write_text('{"images": [')
    with pytest.raises(ValueError, match=r"instances_train.json is no valid JSON"):
        read(root)


def test_absent_paths_say_what_to_set(write_split: WriteSplit) -> None:
    root = write_split()
    file = root / "annotations" / "instances_train.json"
    with pytest.raises(FileNotFoundError, match=r"data\.train_annotations"):
        read_from(root / "train", root / "none.json")
    with pytest.raises(FileNotFoundError, match=r"no such folder.*data\.train_images"):
        read_from(root / "none", file)
    with pytest.raises(FileNotFoundError, match="none of the 1 image"):
        read_from(root / "annotations", file)


def test_a_split_holds_arrays_and_no_object_per_box(write_split: WriteSplit) -> None:
    boxes = [box(n, 1 + n % 50, [1, 1, 5, 5]) for n in range(5000)]
    split = read(write_split(images=[image(n + 1) for n in range(50)], annotations=boxes))
    assert split.num_boxes == 5000
    assert len(pickle.dumps(split)) < 5000 * 60


@pytest.mark.skipif(
    not (SHARED / "bccd").is_dir(), reason="needs the BCCD photographs beside the repository"
)
def test_bccd_loses_exactly_its_two_zero_area_boxes() -> None:
    root = SHARED / "bccd"
    split = read_from(root / "train", root / "annotations" / "instances_train.json")
    assert (split.num_images, split.num_boxes) == (292, 3943 - 2)
    assert "2 zero-area boxes dropped (first: annotation 3153, BloodImage_00338" in split.summary()


@pytest.mark.skipif(
    not (SHARED / "coco_sample").is_dir(), reason="needs the COCO sample beside the repository"
)
def test_coco_sample_has_eighty_holed_categories() -> None:
    root = SHARED / "coco_sample"
    split = read_from(root / "train2017", root / "annotations" / "instances_train2017.json")
    assert len(split.label_space) == 80
    assert max(split.label_space.category_ids) == 90
    assert set(split.labels.tolist()) <= set(range(80))
