"""Shapes of LabelMe and CVAT that are no boxes, and files of other places."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from written_formats import SCENES, Scene, cvat, picture, write_set

from detbox.annotations import Source
from detbox.annotations.cvat import find, read_cvat
from detbox.annotations.labelme import find_undivided, read_labelme
from detbox.errors import DataError

SHAPES = [
    {"label": "nut", "points": [[4, 2], [30, 2], [17, 12]]},
    {"label": "nut", "shape_type": "circle", "points": [[10, 10], [13, 14]]},
    {"label": "bolt", "shape_type": "point", "points": [[1, 1]]},
]
POLYGON = '<polygon label="nut" points="4.0,2.0;30.0,2.0;17.0,12.0"/>'
TURNED = '<box label="nut" xtl="0" ytl="5" xbr="20" ybr="15" rotation="90"/>'
LINE = '<polyline label="bolt" points="1,1;2,2"/>'


def annotated(root: Path, name: str, body: str, attributes: str = "") -> None:
    """A file with one picture of 40 x 20."""
    picture(root, Scene("a.jpg", 40, 20, ()))
    image = f'<image id="0" name="a.jpg" width="40" height="20" {attributes}>{body}</image>'
    (root / name).write_text(f"<annotations>{image}</annotations>")


def test_shapes_of_labelme_count_as_the_box_around_them(tmp_path: Path) -> None:
    picture(tmp_path, Scene("a.jpg", 40, 20, ()))
    picture(tmp_path, Scene("bare.jpg", 40, 20, ()))
    document = {"imagePath": "../../../etc/a.jpg", "imageData": None, "shapes": SHAPES}
    (tmp_path / "a.json").write_text(json.dumps(document), encoding="utf-16")
    source = find_undivided(tmp_path)
    assert source is not None
    split = read_labelme(source)
    assert split.boxes.tolist() == [[4, 2, 26, 10], [5, 5, 10, 10]]
    assert (split.num_images, split.size(0)) == (1, (20, 40))
    told = split.summary()
    assert "1 shape left out that has no box (first: a.json, 3" in told
    assert "1 image file without an annotation file left out (first: bare.jpg)" in told


def test_shapes_of_cvat_count_as_the_box_around_them(tmp_path: Path) -> None:
    annotated(tmp_path, "annotations.xml", POLYGON + TURNED + LINE)
    split = read_cvat(Source(tmp_path, tmp_path))
    assert split.boxes.round(9).tolist() == [[4, 2, 26, 10], [5, 0, 10, 20]]
    assert "1 shape left out that has no box" in split.summary()


def test_subsets_of_cvat_are_splits(tmp_path: Path) -> None:
    annotated(tmp_path, "annotations.xml", POLYGON, 'subset="Validation"')
    assert find(tmp_path, "train") is None
    assert find(tmp_path, "val") == Source(tmp_path, tmp_path, "val")


def test_tracks_are_refused_with_what_to_export(tmp_path: Path) -> None:
    root = write_set(tmp_path / "x", cvat, {"train": SCENES["train"]})
    text = (root / "train.xml").read_text(encoding="utf-8")
    (root / "train.xml").write_text(text.replace("</annotations>", "<track/></annotations>"))
    with pytest.raises(DataError, match=r"tracks of a video.*CVAT for images"):
        read_cvat(Source(root, root / "train.xml"))
