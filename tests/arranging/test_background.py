"""Training pictures without objects, left out and added."""

from __future__ import annotations

from pathlib import Path

import pytest
import written_formats
from written_formats import Scene

import detbox.data  # noqa: F401 - registers
from detbox.annotations.split import Split
from detbox.errors import DataError, MissingFileError, SettingError
from detbox.registry import DATA


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three training pictures, one of them without objects, and one to validate."""
    return written_formats.write_set(tmp_path / "data", written_formats.WRITERS["voc"])


@pytest.fixture
def negatives(tmp_path: Path) -> Path:
    """Two pictures, one of them below, one that is broken, and a text."""
    folder = tmp_path / "a b"
    written_formats.picture(folder, Scene("ü.png", 30, 20, ()))
    written_formats.picture(folder / "below", Scene("n.png", 20, 30, ()))
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "LICENSE.txt").write_text("free")
    return folder


def read(root: Path, part: str, **settings: object) -> Split:
    split = DATA.build({"name": "folder", "root": str(root), **settings}).read(part)
    assert isinstance(split, Split)
    return split


def test_negatives_are_training_pictures_without_objects(root: Path, negatives: Path) -> None:
    before, train = (read(root, "train", negatives=n) for n in (None, str(negatives)))
    assert train.num_images == before.num_images + 2
    assert train.paths(3) == before.paths(3)
    assert {train.path(3), train.path(4)} == {negatives / "ü.png", negatives / "below" / "n.png"}
    assert train.size(3) == (30, 20)
    assert [len(train.objects(index)[0]) for index in range(5)] == [2, 2, 0, 0, 0]
    assert train.image_ids.tolist() == [1, 2, 3, 4, 5]
    assert (train.label_space, train.source) == (before.label_space, before.source)
    told = train.summary()
    assert f"2 images without objects added from {negatives} (first: below/n.png)" in told
    assert "1 image left out, of which no picture can be read (first: broken.jpg)" in told
    assert "annotations beside" not in told
    assert read(root, "val", negatives=str(negatives)).num_images == 1


def test_pictures_of_the_data_are_not_taken_once_more(root: Path, negatives: Path) -> None:
    inside = root / "JPEGImages"
    written_formats.picture(inside, Scene("unlisted.png", 9, 9, ()))
    train = read(root, "train", negatives=str(inside))
    assert train.path(3) == inside / "unlisted.png"
    assert train.num_images == 4
    assert "4 images of the data left out of data.negatives" in train.summary()
    (inside / "unlisted.png").unlink()
    with pytest.raises(DataError, match="has pictures of the data alone"):
        read(root, "train", negatives=str(inside))
    with pytest.raises(SettingError, match="holds the pictures of the data"):
        read(root, "train", negatives=str(root.parent))


def test_copies_of_pictures_of_the_data_are_left_out(root: Path, negatives: Path) -> None:
    before = read(root, "train", negatives=str(negatives))
    for part in ("train", "val"):
        path = read(root, part).path(0)
        (negatives / "below" / f"{part} ä{path.suffix}").write_bytes(path.read_bytes())
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # behind all that decoding asks for
    (negatives / f"other{path.suffix}").write_bytes(content)
    train = read(root, "train", negatives=str(negatives))
    assert train.num_images == before.num_images + 1
    assert "2 files left out of data.negatives, copies of the data's (first: below/" in (
        train.summary()
    )


def test_labels_beside_negatives_are_told(root: Path, negatives: Path) -> None:
    (negatives / "below" / "n.txt").write_text("0 .5 .5 .1 .1")
    told = read(root, "train", negatives=str(negatives)).summary()
    assert "1 image of data.negatives has annotations beside" in told


def test_a_folder_that_cannot_be_meant_is_refused(root: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    with pytest.raises(MissingFileError, match=r"data\.negatives=.*there is no such folder"):
        read(root, "train", negatives=str(empty))
    empty.mkdir()
    with pytest.raises(DataError, match="has no pictures"):
        read(root, "train", negatives=str(empty))
    with pytest.raises(SettingError, match="is a file"):
        read(root, "train", negatives=str(root / "Annotations" / "v.xml"))


def test_background_of_the_data_may_be_left_out_of_training(root: Path, negatives: Path) -> None:
    train = read(root, "train", background=False)
    assert (train.num_images, train.num_boxes) == (2, 4)
    assert "1 image without objects left out of training (first: JPEGImages/none" in train.summary()
    train = read(root, "train", background=False, classes=["bolt"], negatives=str(negatives))
    assert [len(train.objects(index)[0]) for index in range(3)] == [1, 0, 0]
    assert read(root, "val", background=False, classes=["Möhre", "nut"]).num_images == 1
