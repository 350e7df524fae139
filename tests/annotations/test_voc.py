"""Pascal VOC's layouts, its marks, and XML that is no friend."""

from __future__ import annotations

from pathlib import Path

import pytest
from written_formats import SCENES, WRITERS, Scene, picture, write_set

from detbox.annotations import Source
from detbox.annotations.voc import find, find_undivided, read_voc
from detbox.errors import DataError

BOX = "<bndbox><xmax>30</xmax><xmin>4.0</xmin><ymin>2</ymin><ymax>12</ymax></bndbox>"
OBJECT = f"<object><name>nut</name><part>{BOX}</part>{BOX}</object>"
BOMB = '<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><annotation>&b;</annotation>'


def annotated(folder: Path, stem: str, text: str) -> None:
    """A picture of 40 x 20 with its file."""
    picture(folder, Scene(f"{stem}.jpg", 40, 20, ()))
    (folder / f"{stem}.xml").write_bytes(text.encode("gbk"))


def test_folders_without_lists_and_sizes(tmp_path: Path) -> None:
    declared = '<?xml version="1.0" encoding="gbk"?>'
    for folder in ("train", "valid"):
        annotated(tmp_path / folder, "a", f"{declared}<annotation>{OBJECT}</annotation>")
    annotated(
        tmp_path / "train", "b", f"{declared}<annotation><filename>猫</filename></annotation>"
    )
    picture(tmp_path / "train", Scene("bare.jpg", 9, 9, ()))
    for split, images in (("train", 2), ("val", 1)):
        source = find(tmp_path, split)
        assert source is not None
        found = read_voc(source)
        assert (found.num_images, found.size(0)) == (images, (20, 40))
        assert found.boxes.tolist() == [[4, 2, 26, 10]]
    assert (
        "1 image file without an annotation file left out"
        in read_voc(Source(tmp_path, tmp_path, "train")).summary()
    )


def test_trainval_and_test_stand_for_train_and_val(tmp_path: Path) -> None:
    root = write_set(tmp_path / "x" / "VOC2007", WRITERS["voc"]).parent
    lists = root / "VOC2007" / "ImageSets" / "Main"
    (lists / "train.txt").rename(lists / "trainval.txt")
    (lists / "val.txt").rename(lists / "test.txt")
    for split, scenes in SCENES.items():
        source = find(root, split)
        assert source is not None
        assert read_voc(source).num_images == len(scenes)


def test_difficult_objects_are_not_learnt(tmp_path: Path) -> None:
    hard = OBJECT.replace("<name>", "<difficult>1</difficult><name>")
    annotated(tmp_path, "a", f"<annotation>{OBJECT}{hard}</annotation>")
    source = find_undivided(tmp_path)
    assert source is not None
    split = read_voc(source)
    assert split.learnt.tolist() == [True, False]
    assert "1 image has difficult objects" in split.summary()


@pytest.mark.parametrize("text", [BOMB, "<annotation><object></annotation>"])
def test_files_that_cannot_be_read_are_left_out_unless_they_are_many(
    text: str, tmp_path: Path
) -> None:
    for stem in ("a", "b"):
        annotated(tmp_path, stem, f"<annotation>{OBJECT}</annotation>")
    annotated(tmp_path, "c", text)
    assert "1 file left out that cannot be read" in read_voc(Source(tmp_path, tmp_path)).summary()
    annotated(tmp_path, "a", text)
    with pytest.raises(DataError, match="2 of 3 files left out"):
        read_voc(Source(tmp_path, tmp_path))


def test_pictures_that_are_not_there_stay_inside_and_are_said(tmp_path: Path) -> None:
    annotated(tmp_path / "in", "a", f"<annotation>{OBJECT}</annotation>")
    size = "<size><width>40</width><height>20</height></size>"
    text = f"<annotation><filename>../../etc/z.jpg</filename>{size}{OBJECT}</annotation>"
    annotated(tmp_path / "in", "b", text)
    (tmp_path / "in" / "b.jpg").unlink()
    split = read_voc(Source(tmp_path / "in", tmp_path / "in"))
    assert split.path(1) == tmp_path / "in" / "z.jpg"
