"""CSV under other headers and in other places."""

from __future__ import annotations

from pathlib import Path

import pytest
from written_formats import Scene, picture

from detbox.annotations import Source
from detbox.annotations.csv import find, find_undivided, fits, read_csv

TEXTS = {
    "RetinaNet": "/home/x/images/a.jpg,4,2,30,12,nut\nimages/b.jpg,,,,,\n",
    "COCO's columns": "\ufeffimage_name;bbox_x;bbox_y;bbox_width;bbox_height;label_name;"
    "image_width;image_height\r\na.jpg;4;2;26;10;nut;40;20\r\nb.jpg;;;;;;40;20\r\n",
    "x, y, width, height": "file,label,x,y,width,height\na.jpg,nut,4,2,26,10\nb.jpg,,,,,\n",
    "one box": 'image_id,width,height,bbox,class\na.jpg,40,20,"[4, 2, 26, 10]",nut\nb.jpg,,,,\n',
    "Open Images": "ImageID,LabelName,XMin,XMax,YMin,YMax\na.jpg,nut,.1,.75,.1,.6\nb.jpg,,,,,\n",
}


def pictures(folder: Path, *names: str) -> None:
    """Of 40 x 20."""
    for name in names:
        picture(folder, Scene(name, 40, 20, ()))


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_headers(text: str, tmp_path: Path) -> None:
    pictures(tmp_path / "images", "a.jpg", "b.jpg", "c.jpg")
    (tmp_path / "boxes.csv").write_text(text, encoding="utf-8", newline="")
    assert find(tmp_path, "train") is None
    source = find_undivided(tmp_path)
    assert source is not None
    split = read_csv(source)
    assert (split.num_images, split.size(0), split.label_space.names) == (2, (20, 40), ("nut",))
    assert split.boxes.round(9).tolist() == [[4, 2, 26, 10]]
    assert "1 image file that no line names left out (first: images/c.jpg)" in split.summary()
    assert fits(Source(tmp_path, tmp_path / "boxes.csv"))


@pytest.mark.parametrize("place", ["train_labels.csv and val_labels.csv", "split", "folders"])
def test_splits(place: str, tmp_path: Path) -> None:
    names = {"train": "train/a.jpg", "val": "val/b.jpg"} if place == "folders" else {}
    lines = []
    for split, stem in (("train", "a"), ("val", "b")):
        name = names.get(split, f"{stem}.jpg")
        pictures((tmp_path / name).parent, f"{stem}.jpg")
        line = f"{name},4,2,30,12,nut"
        if place.startswith("train"):
            (tmp_path / f"{split}_labels.csv").write_text(line)
        lines.append(f"{line},{split.upper()}" if place == "split" else line)
    if not place.startswith("train"):
        header = "image,x1,y1,x2,y2,label" + (",split" if place == "split" else "")
        (tmp_path / "boxes.csv").write_text("\n".join([header, *lines]))
    (tmp_path / "classes.csv").write_text("nut,0\nbolt,1\n")
    for split, stem in (("train", "a"), ("val", "b")):
        source = find(tmp_path, split)
        assert source is not None
        found = read_csv(source)
        assert found.path(0).stem == stem
        assert (found.num_images, found.label_space.names) == (1, ("nut", "bolt"))
