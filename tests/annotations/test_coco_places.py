"""COCO's documents under the names of other exporters."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from written_formats import SCENES, coco, write_set

from detbox.annotations.coco import read_coco
from detbox.annotations.coco_places import find_split, find_undivided
from detbox.annotations.files import with_files_found
from detbox.errors import DataError

DIVIDED = {
    "train.json beside the folders": ("{split}.json", "{split}"),
    "annotations/train.json": ("annotations/{split}.json", "images/{split}"),
    "Objects365": ("zhiyuan_objv2_{split}.json", "{split}/images/v1/patch0"),
    "in the folder": ("{split}/result.json", "{split}/images"),
    "in the folder, any name": ("{split}/labels.json", "{split}/data"),
}
WHOLE = {
    "Label Studio": ("result.json", "images"),
    "CVAT": ("annotations/instances_default.json", "images"),
    "CVAT, images/default": ("annotations/instances_default.json", "images/default"),
    "Roboflow": ("_annotations.coco.json", "."),
}


def moved(root: Path, split: str, place: tuple[str, str]) -> None:
    """A split from COCO's own layout to another."""
    document, folder = (root / each.format(split=split) for each in place)
    for picture in sorted((root / "from" / split).iterdir()):
        folder.mkdir(parents=True, exist_ok=True)
        picture.rename(folder / picture.name)
    document.parent.mkdir(parents=True, exist_ok=True)
    (root / "from" / "annotations" / f"instances_{split}.json").rename(document)


@pytest.mark.parametrize("place", DIVIDED.values(), ids=DIVIDED)
def test_documents_of_a_split_are_found(place: tuple[str, str], tmp_path: Path) -> None:
    write_set(tmp_path / "from", coco)
    for split in SCENES:
        moved(tmp_path, split, place)
    shutil.rmtree(tmp_path / "from")
    (tmp_path / "captions_train.json").write_text('{"images": []}')
    for split, scenes in SCENES.items():
        source = find_split(tmp_path, split)
        assert source is not None
        found = with_files_found(read_coco(source), tmp_path, split)
        assert all(path.is_file() for path in found.paths(9))
        assert found.num_images == len(scenes)
        source.annotations.unlink()
        assert find_split(tmp_path, split) is None


@pytest.mark.parametrize("place", WHOLE.values(), ids=WHOLE)
def test_one_document_for_all_is_found(place: tuple[str, str], tmp_path: Path) -> None:
    write_set(tmp_path / "from", coco, {"train": SCENES["train"]})
    moved(tmp_path, "train", place)
    shutil.rmtree(tmp_path / "from")
    assert find_split(tmp_path, "train") is None
    source = find_undivided(tmp_path)
    assert source is not None
    found = with_files_found(read_coco(source), tmp_path, "train")
    assert all(path.is_file() for path in found.paths(9))


def test_lvis_takes_pictures_of_both_folders(tmp_path: Path) -> None:
    root = write_set(tmp_path / "x", coco)
    for split in SCENES:
        file = root / "annotations" / f"instances_{split}.json"
        document = json.loads(file.read_text())
        for image in document["images"]:
            image["coco_url"] = f"http://images.cocodataset.org/train/{image.pop('file_name')}"
        (root / f"lvis_v1_{split}.json").write_text(json.dumps(document))
        file.unlink()
    (root / "val" / "v.png").rename(root / "train" / "v.png")
    source = find_split(root, "val")
    assert source is not None
    assert with_files_found(read_coco(source), root, "val").path(0) == root / "train" / "v.png"


@pytest.mark.parametrize("front", ["{}/", ""])
def test_one_document_for_all_with_pictures_in_folders(front: str, tmp_path: Path) -> None:
    root = write_set(tmp_path / "x", coco)
    listed = []
    for split in SCENES:
        file = root / "annotations" / f"instances_{split}.json"
        document = json.loads(file.read_text())
        for at, image in enumerate(document["images"]):
            image |= {"id": f"{split}{at}", "file_name": front.format(split) + image["file_name"]}
        for entry in document["annotations"]:
            entry["image_id"] = f"{split}{entry['image_id'] - 1}"
        listed.append(document)
        file.unlink()
    both = {key: listed[0][key] + listed[1][key] for key in ("images", "annotations")}
    (root / "result.json").write_text(json.dumps({**listed[0], **both}))
    for split, scenes in SCENES.items():
        source = find_split(root, split)
        assert source is not None
        found = with_files_found(read_coco(source), root, split)
        assert all(path.is_file() for path in found.paths(9))
        assert found.num_boxes == sum(len(scene.objects) for scene in scenes)


def test_of_two_documents_for_all_one_must_be_named(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text('{"images": [], "annotations": []}')
    with pytest.raises(DataError, match=r"found a\.json, b\.json; choose with"):
        find_undivided(tmp_path)
