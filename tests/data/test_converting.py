"""What a format can say comes back from it; what it cannot is counted; a folder is whole or not."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections import Counter
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from coco_files import box, image, write_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import detbox
from detbox.annotations.findings import Finding
from detbox.annotations.packing import Images, Objects, Unknown, pack
from detbox.annotations.split import Split
from detbox.commands.arguments import readable
from detbox.commands.table import bound
from detbox.data.converting import convert
from detbox.data.folder import Folder, Named
from detbox.errors import DataError, DetboxError, SettingError
from detbox.registry import FORMATS
from detbox.structures import LabelSpace

NONE = "pictures=none"
NOTHING = {"train": Named(None, None), "val": Named(None, None)}
LETTERS = "aAb .%20ü\u0301\n-_'&<,;\"#\\1\U0001f955\x07"
WRITTEN = [name for name in FORMATS.names() if FORMATS.build({"name": name}).writer]
EXACT = ("image_ids", "sizes", "starts", "labels", "areas", "crowd", "object_ids", "boxes")
OFTEN = settings(
    max_examples=40, deadline=timedelta(seconds=20), suppress_health_check=list(HealthCheck)
)


@st.composite
def spaces(draw: st.DrawFn) -> LabelSpace:
    """Up to four classes under odd names and numbers."""
    words = st.text(LETTERS, max_size=4).map(lambda text: f"x{text}y")
    plain = st.lists(words, min_size=1, max_size=4, unique_by=lambda name: " ".join(name.split()))
    names = draw(plain.filter(lambda found: not any("\x07" in name for name in found)))
    numbers = st.lists(st.integers(0, 10**9), min_size=len(names), max_size=len(names), unique=True)
    return LabelSpace(tuple(names), tuple(sorted(draw(numbers))))


@st.composite
def boxes(draw: st.DrawFn, height: int, width: int) -> list[float]:
    """Inside of a picture, with any digits."""
    across, down = (draw(st.floats(2, side)) for side in (width, height))
    left, top = draw(st.floats(0, width - across)), draw(st.floats(0, height - down))
    return [left, top, min(across, width - left), min(down, height - top)]


@st.composite
def splits(draw: st.DrawFn, folder: Path, space: LabelSpace) -> Split:
    """Pictures that are there, some without objects, with crowds, masks and one box that leaves."""
    name = st.tuples(
        st.sampled_from(["", "in/", "out/val/"]),
        st.text(LETTERS, max_size=5),
        st.sampled_from([".png", "p.PNG", "p"]),
    )
    files = draw(st.lists(name.map("".join), min_size=1, max_size=4, unique=True))
    sides = st.tuples(st.integers(3, 40), st.integers(3, 3000))
    sizes = [draw(sides) for _ in files]
    for file, (height, width) in zip(files, sizes, strict=True):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("1", (width, height)).save(folder / file, format="png")
    owners = sorted(draw(st.lists(st.integers(0, len(files) - 1), max_size=6)))
    count = len(owners)
    placed = np.array([draw(boxes(*sizes[owner])) for owner in owners]).reshape(-1, 4)
    flags = st.lists(st.booleans(), min_size=count, max_size=count)
    crowd = np.array([False, *draw(flags)[1:]][:count], dtype=bool)
    if count > 1 and draw(st.booleans()):
        placed[1, 0] -= 2.5
    numbers = [
        draw(st.lists(st.integers(0, 2**40), min_size=size, max_size=size, unique=True))
        for size in (len(files), count)
    ]
    labels = draw(st.lists(st.integers(0, len(space) - 1), min_size=count, max_size=count))
    objects = Objects(
        owners=np.array(owners, dtype=np.int64),
        labels=np.array(labels, dtype=np.int64),
        boxes=placed,
        areas=np.where(draw(flags), 1.5, -1) if count else np.zeros(0),
        crowd=crowd,
        ids=np.array(numbers[1], dtype=object),
        outlined=np.array(draw(flags), dtype=bool),
    )
    images = Images(np.array(numbers[0]), np.array(sizes), files)
    return pack(folder / "x", folder, space, images, objects, Unknown())


def read(root: Path, part: str) -> Split:
    """As `data=FOLDER` reads it; in order of names, which not every format keeps."""
    split = Folder(str(root), NOTHING, None)(part)
    assert split is not None
    return split


@pytest.mark.parametrize("to", WRITTEN)
@OFTEN
@given(st.data())
def test_what_a_format_can_say_comes_back(to: str, data: st.DataObject) -> None:
    with TemporaryDirectory() as place:
        space = data.draw(spaces())
        whole = {
            part: data.draw(splits(Path(place) / "given" / part, space))
            for part in data.draw(st.sampled_from([("train", "val"), ("train",), ("",)]))
        }
        out = Path(place) / "out"
        folder = FORMATS.build({"name": to}).writer.pictures
        done = convert(whole, to, out, "link", [])
        assert done.pictures == Counter(linked=sum(each.num_images for each in whole.values()))
        for part, split in done.splits.items():
            back = read(out, part or "train")
            assert back.label_space == split.label_space
            assert back.num_images == split.num_images
            names = [split.names[index] for index in range(split.num_images)]
            for index, path in enumerate(back.paths(back.num_images)):
                at = names.index(path.relative_to(out / folder(part)).as_posix())
                one, two = split.of_images([at]), back.of_images([index])
                np.testing.assert_array_equal(two.sizes, one.sizes)
                np.testing.assert_array_equal(two.labels, one.labels)
                np.testing.assert_allclose(two.boxes, one.boxes, atol=1e-6)
                np.testing.assert_array_equal(two.crowd, one.crowd)
                assert path.samefile(whole[part].path(at))
            if to == "coco":
                for key in EXACT:
                    np.testing.assert_array_equal(getattr(back, key), getattr(whole[part], key))
            assert accounted(whole[part], done.lost[part]) == len(split.labels)


def accounted(split: Split, lost: list[Finding]) -> int:
    """Objects that are left by what was said."""
    return len(split.labels) - sum(
        each.number
        for each in lost
        if each.what.endswith("left out") and "classes" not in each.what
    )


@pytest.fixture
def set_of_two(tmp_path: Path) -> Path:
    """Two cameras with the same file names, and a class that no object has."""
    root = tmp_path / "Möhren 1"
    for part in ("train", "val"):
        fields = {"categories": [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}]}
        (root / part / "b").mkdir(parents=True)
        (root / part / "a").mkdir()
        images = [image(1) | {"file_name": "a/0001.png"}, image(2) | {"file_name": "b/0001.png"}]
        boxes = [box(1, 1, [8, 8, 9, 9], category_id=9), box(2, 2, [8, 8, 9, 9], category_id=9)]
        boxes[0]["segmentation"] = [[8, 8, 17, 8, 17, 17]]
        write_files(root, part, images=images, annotations=boxes, **fields)
    return root


def converted(*overrides: str) -> None:
    """Run the command as typed."""
    arguments = readable("convert_data", overrides)
    bound("convert_data", detbox.compose(*arguments, config_name="convert_data"))(Path())


def test_what_is_lost_is_said(
    set_of_two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "voc"
    converted(f"from={set_of_two}", "to=voc", f"out={out}", "pictures=copy")
    told = capsys.readouterr().out
    for line in (
        "not in voc: 1 outline (polygons, masks) replaced by their boxes (first: instances_tr",
        "not in voc: 1 class without objects left out (first: cat)",
        "not in voc: 1 class numbered anew (first: dog from 9 to 1)",
        "not in voc: 2 images renamed (first: a/0001.png as 0001.png)",
        "pictures: 4 copied",
    ):
        assert line in told
    found = sorted(each.name for each in (out / "JPEGImages").iterdir())
    assert found == ["0001-2.png", "0001-3.png", "0001-4.png", "0001.png"]
    assert not (out / "JPEGImages" / "0001.png").samefile(set_of_two / "train" / "a" / "0001.png")


def test_folders_of_which_one_is_not_divided_are_refused(set_of_two: Path, tmp_path: Path) -> None:
    whole = shutil.copytree(set_of_two, tmp_path / "whole")
    (whole / "annotations" / "instances_val.json").rename(whole / "all.json")
    shutil.rmtree(whole / "annotations")
    shutil.rmtree(whole / "train")
    (whole / "val").rename(whole / "images")
    roots = f"data.root=[{set_of_two},{whole}]"
    with pytest.raises(SettingError, match=r"out=NEW would write 2 pictures for training and for"):
        converted(roots, "to=voc", f"out={tmp_path / 'new'}")
    assert not (tmp_path / "new").exists()


def test_what_is_not_divided_stays_so(set_of_two: Path, tmp_path: Path) -> None:
    """And annotations alone need no pictures."""
    (set_of_two / "annotations" / "instances_train.json").rename(set_of_two / "all.json")
    shutil.rmtree(set_of_two / "annotations")
    (set_of_two / "train").rename(set_of_two / "images")
    shutil.rmtree(set_of_two / "val")
    converted("data=coco", f"data.root={set_of_two}", "to=coco", f"out={tmp_path / 'new'}", NONE)
    document = json.loads((tmp_path / "new" / "annotations.json").read_text())
    assert [each["file_name"] for each in document["images"]] == ["a/0001.png", "b/0001.png"]
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["annotations.json"]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("to=labelme", "out=new"), "no such format to write; choose one of coco, csv, voc, yolo"),
        (("to=yolo", "out=full"), "out=full is there already"),
        (("to=yolo", "out=full/file"), "out=full/file is there already"),
        (("to=yolo", "out=given/new"), "lies in .*given.*which is read"),
        (("to=yolo", "out=new", "pictures=move"), "pictures=move: no such choice"),
        (("to=yolo", "out=new", "data.root=other"), "two data sets; give one"),
        (("out=new",), "to is missing; give to=coco"),
        (("to=yolo",), "out is missing; give out=NEW_FOLDER"),
        (("to=yolo", "out=new", "from=nowhere"), "there is no folder"),
    ],
)
def test_what_is_refused_leaves_nothing(
    overrides: tuple[str, ...],
    sentence: str,
    set_of_two: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    set_of_two.rename("given")
    Path("full").mkdir()
    Path("full/file").touch()
    with pytest.raises(DetboxError, match=sentence):
        converted("from=given", *overrides)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["full", "given"]
    assert [each.name for each in Path("full").iterdir()] == ["file"]


def test_classes_of_one_name_are_for_coco_alone(set_of_two: Path, tmp_path: Path) -> None:
    for part in ("train", "val"):
        file = set_of_two / "annotations" / f"instances_{part}.json"
        file.write_text(file.read_text().replace('"dog"', '"cat"'))
    with pytest.raises(DataError, match=r"2 classes are called 'cat'.*give to=coco"):
        converted(f"from={set_of_two}", "to=csv", f"out={tmp_path / 'new'}")
    converted(f"from={set_of_two}", "to=coco", f"out={tmp_path / 'new'}")


def test_a_failure_in_the_middle_leaves_nothing(
    set_of_two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(shutil, "copy2", full)
    with pytest.raises(OSError, match="no space left"):
        converted(f"from={set_of_two}", "to=yolo", f"out={tmp_path / 'new'}")
    assert list(tmp_path.iterdir()) == [set_of_two]


def test_pictures_that_are_missing_are_counted(
    set_of_two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (set_of_two / "train" / "a" / "0001.png").unlink()
    converted(f"from={set_of_two}", "to=csv", f"out={tmp_path / 'new'}")
    assert "pictures: 3 linked, 1 missing" in capsys.readouterr().out
