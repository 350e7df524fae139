"""Several folders as one data set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import written_formats
from hypothesis import given
from hypothesis import strategies as st
from made import Images, made, named

from detbox.arranging.joining import concatenated, joined_space
from detbox.data.dataset import DataSet
from detbox.errors import DataError, MissingFileError, SettingError
from detbox.registry import DATA
from detbox.structures import LabelSpace

IMAGES = st.lists(st.lists(st.sampled_from("abcd"), max_size=3), min_size=1, max_size=4)


@given(st.lists(IMAGES, min_size=1, max_size=4))
def test_joined_splits_have_all_images_with_their_objects(parts: list[Images]) -> None:
    splits = [made(images, folder=f"/data/{n}") for n, images in enumerate(parts)]
    whole = concatenated(splits, [split.source.name for split in splits], Path("/data"))
    assert named(whole) == [image for split in splits for image in named(split)]
    assert sorted(whole.label_space.names) == sorted({n for p in parts for i in p for n in i})
    assert len(set(whole.label_space.category_ids)) == len(whole.label_space)
    assert whole.image_ids.tolist() == list(range(1, whole.num_images + 1))
    paths = [path for split in splits for path in split.paths(split.num_images)]
    assert whole.paths(whole.num_images) == paths
    assert whole.num_boxes == sum(split.num_boxes for split in splits)


def test_a_class_keeps_its_id_where_that_is_free() -> None:
    spaces = LabelSpace(("a", "b"), (1, 5)), LabelSpace(("b", "c", "d"), (1, 5, 3))
    assert joined_space(spaces) == LabelSpace(("a", "b", "c", "d"), (1, 5, 6, 3))


@pytest.fixture
def roots(tmp_path: Path) -> list[Path]:
    """Two whole sets, the same pictures in two formats, the first of an odd name."""
    yolo = written_formats.write_set(tmp_path / "a, b [x]", written_formats.WRITERS["yolo"])
    return [yolo, written_formats.write_set(tmp_path / "voc", written_formats.WRITERS["voc"])]


def build(*roots: Path, **settings: object) -> DataSet:
    dataset: DataSet = DATA.build({"name": "folder", "root": list(map(str, roots)), **settings})
    return dataset


def test_folders_of_several_formats_give_their_splits(roots: list[Path]) -> None:
    dataset = build(*roots)
    train, val = dataset.read("train"), dataset.read("val")
    assert train is not None
    assert val is not None
    assert (train.num_images, train.num_boxes, val.num_images, val.num_boxes) == (6, 8, 2, 4)
    assert train.label_space.names == written_formats.NAMES
    assert all(path.is_file() for path in (*train.paths(6), *val.paths(2)))
    assert len(set(train.paths(6))) == 6
    assert named(train)[:3] == named(train)[3:]
    told = val.summary()
    assert "a, b [x] + voc (a, b [x]: 1 image, yolo, 48 x 48; voc: 1 image" in told
    assert "2 images numbered from 1 on through all folders, in detections.json too" in told
    assert "2 images without boxes kept (first: images/train/none.png in a, b" in train.summary()


def test_a_folder_may_lack_a_split_or_have_none(roots: list[Path], tmp_path: Path) -> None:
    only = {"train": written_formats.SCENES["train"]}
    lone = written_formats.write_set(tmp_path / "lone", written_formats.WRITERS["csv"], only)
    val = build(*roots, lone).read("val")
    assert val is not None
    assert "1 folder without a val split (first: lone)" in val.summary()
    assert build(lone).read("val") is None
    pictures = tmp_path / "pictures"
    (lone / "train").rename(pictures)
    both = build(roots[0], pictures)
    train, val = both.read("train"), both.read("val")
    assert train is not None
    assert val is not None
    assert (train.num_images, val.num_images) == (6, 4)
    assert "3 images serve training and evaluation alike, since" in val.summary()


def written(folder: Path, *names: str) -> Path:
    """A set whose one picture has an object of each class."""
    scene = written_formats.Scene("p.png", 32, 32, tuple((name, (1, 2, 9, 9)) for name in names))
    written_formats.write_set(folder, written_formats.WRITERS["labelme"], {"train": [scene]})
    assert all(json.loads(file.read_text()) for file in folder.rglob("*.json"))
    return folder


def test_classes_that_differ_are_said_of_those_that_are_learnt(tmp_path: Path) -> None:
    roots = written(tmp_path / "a", "Car", "dog"), written(tmp_path / "b", "car", "cat")
    train = build(*roots).read("train")
    assert train is not None
    assert train.label_space.names == ("Car", "dog", "car", "cat")
    told = train.summary()
    assert "4 classes that not every folder has (first: Car, not in b): where that one" in told
    assert "1 class with the name of another one but for letter case" in told
    assert "(first: Car and car): data.merge={OLD:NEW} joins them" in told
    train = build(*roots, merge={"Car": "car"}, classes=["car"]).read("train")
    assert train is not None
    assert train.label_space.names == ("car",)
    assert "folder has" not in train.summary()
    assert "letter case" not in train.summary()


def test_folders_that_cannot_be_joined_are_refused(roots: list[Path], tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"voc is .*voc, so its pictures would come twice"):
        build(roots[1], roots[1])
    with pytest.raises(SettingError, match=r"voc lies in .*, so its pictures would come twice"):
        build(tmp_path, roots[1])
    with pytest.raises(SettingError, match=r"data\.val_images lies in one folder"):
        build(*roots, val_images="x", val_annotations="y")
    with pytest.raises(MissingFileError, match=r"there is no folder .*nowhere"):
        build(*roots, tmp_path / "nowhere").read("train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty has none of them"):
        build(*roots, tmp_path / "empty").read("train")
    with pytest.raises(DataError, match=r"needs data\.root=FOLDER"):
        build().read("train")
