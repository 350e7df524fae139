"""YOLO's layouts and the lines that people's tools write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from written_formats import Scene, picture

from detbox.annotations import Source, Split
from detbox.annotations.yolo import find, find_undivided, read_yolo
from detbox.errors import DataError

LINE = "0 0.5 0.5 0.5 0.25"
NAMES = "names: [bolt, nut]\n"
LAYOUTS: dict[str, dict[str, str]] = {
    "images and labels": {
        **{"images/train/a.jpg": "", "labels/train/a.txt": LINE, "images/val/b.JPG": ""},
        **{"labels/val/b.TXT": LINE, "classes.txt": "bolt\nnut\n"},
    },
    "Roboflow": {
        **{"train/images/a.jpg": "", "train/labels/a.txt": LINE, "valid/images/b.jpg": ""},
        **{"valid/labels/b.txt": LINE, "README.dataset.txt": "# hello\n", "test/images/c.jpg": ""},
        "data.yaml": f"train: ../train/images\nval: ../valid/images\nnc: 2\n{NAMES}",
    },
    "yaml of another machine": {
        **{"p/one/a.jpg": "", "p/one/a.txt": LINE, "p/two/b.jpg": "", "p/two/b.txt": LINE},
        "data.yaml": r"train: C:\Users\me\set\p\one" + f"\nval: [/home/x/set/p/two]\n{NAMES}",
    },
    "lists": {
        **{"images/a.jpg": "", "labels/a.txt": LINE, "images/b.jpg": "", "labels/b.txt": LINE},
        **{"train.txt": "/data/images/a.jpg\n", "val.txt": "\ufeff./images/b.jpg\r\n../../b.jpg"},
        "obj.names": "bolt\nnut",
    },
    "beside": {
        **{"train/a.jpg": "", "train/a.txt": LINE, "val/b.jpg": "", "val/b.txt": LINE},
        "train/classes.txt": "bolt\nnut\n",
    },
    "names by number": {
        **{"train/a.jpg": "", "train/a.txt": LINE, "val/b.jpg": "", "val/b.txt": LINE},
        "set.yml": "train: train\nval: val\nnames: {1: nut, 0: bolt}\n",
    },
}


def lay(root: Path, files: dict[str, str]) -> Path:
    """Write them; pictures are 40 x 20."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == ".jpg":
            picture(path.parent, Scene(path.name, 40, 20, ()))
        else:
            path.write_text(content, encoding="utf-8")
    return root


def read(root: Path, split: str) -> Split:
    """As the folder would."""
    source = find(root, split)
    assert source is not None
    return read_yolo(source)


@pytest.mark.parametrize("files", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_are_found(files: dict[str, str], tmp_path: Path) -> None:
    lay(tmp_path, files)
    for split, stem in (("train", "a"), ("val", "b")):
        found = read(tmp_path, split)
        assert [Path(found.names[at]).stem for at in range(found.num_images)] == [stem]
        assert found.boxes.tolist() == [[10, 7.5, 20, 5]]
        assert found.label_space.names == ("bolt", "nut")


def test_a_flat_folder_is_not_divided(tmp_path: Path) -> None:
    lay(tmp_path, {"a.jpg": "", "a.txt": "1 .5 .5 1 1", "b.jpg": "", "c.txt": LINE})
    assert find(tmp_path, "train") is None
    source = find_undivided(tmp_path)
    assert source is not None
    split = read_yolo(source)
    assert (split.num_images, split.label_space.names) == (2, ("0", "1"))
    told = split.summary()
    assert "1 image without a label file kept as background (first: b.jpg)" in told
    assert "1 label file without an image left out (first: c.txt)" in told
    assert "2 classes named by their numbers" in told


def test_lines_of_other_tools(tmp_path: Path) -> None:
    lines = ["0 .1 .2 .5 .2 .3 .8", "1.0,.5,.5,.5,.5", "7 .5 .5 1 1", "0 x", *[LINE] * 3]
    lay(tmp_path, {"a.jpg": "", "a.txt": "\n".join(lines), "classes.txt": "bolt\nnut"})
    split = read_yolo(Source(tmp_path, tmp_path))
    assert split.boxes.round(6).tolist() == [[4, 4, 16, 12], [10, 5, 20, 10], [10, 7.5, 20, 5]]
    assert "line 4: '0 x'" in split.summary()
    assert "class 7, known are bolt, nut" in split.summary()


@pytest.mark.parametrize(
    ("line", "classes", "sentence"),
    [
        ("0 20 10 8 8", "bolt", "shares of the picture from 0 to 1: divide x by its width"),
        ("0 .5 .5 .5 .5 .9", "bolt", "a line is a class number"),
        (LINE, "bolt\nbolt", "'bolt' is named twice"),
        (
            "1 .5 .5 .5 .5\n3 .5 .5 .2 .2",
            "bolt\nnut\npin",
            "from 0 to 2 for bolt, nut, pin, got 1 to 3; all fit with -1",
        ),
    ],
)
def test_what_is_refused(line: str, classes: str, sentence: str, tmp_path: Path) -> None:
    lay(tmp_path, {"a.jpg": "", "a.txt": line, "classes.txt": classes})
    with pytest.raises(DataError, match=sentence):
        read_yolo(Source(tmp_path, tmp_path))


def test_nothing_outside_of_the_folder_is_read(tmp_path: Path) -> None:
    outside = lay(tmp_path / "out", {"z.jpg": "", "z.txt": LINE, "list.txt": "z.jpg"})
    root = lay(
        tmp_path / "in", {"train/a.jpg": "", "train/a.txt": LINE, "train.txt": "../out/z.jpg"}
    )
    os.symlink(outside / "z.jpg", root / "train" / "z.jpg")
    os.symlink(outside, root / "more")
    (root / "data.yaml").write_text(f"train: {outside}\nval: ../out/list.txt\nnames: [bolt]")
    split = read(root, "train")
    assert split.num_images == 1
    assert "2 links to folders or out of the folder not followed" in split.summary()
    assert find(root, "val") is None
