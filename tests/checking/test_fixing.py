"""A repaired copy is clean, and repairing it once more changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from planted import (
    BOXES,
    IMAGES,
    SIDE,
    annotation,
    as_jpeg,
    both,
    classes,
    cut_off,
    looked_at,
    more,
    name,
    not_divided,
    picture,
    sized,
    turned,
    write,
)

from detbox.checking import checked
from detbox.checking.fixing import fix
from detbox.errors import SettingError

PLANT = both(
    annotation(5, bbox=[4, 4, 0, 9]),
    annotation(7, bbox=[40, 4, 9, 9]),
    annotation(10, bbox=[20, 16, 20, 12], area=240),
    more(2, bbox=[4, 4, 12, 9]),
    more(1, image_id=77, id=977),
    picture(10, Path.unlink),
    picture(11, lambda file: file.write_text("no picture")),
    picture(12, cut_off),
    sized(13, 64, 32),
    sized(14, 64, 64),
    picture(15, as_jpeg),
    picture(16, turned(6)),
    picture(17, turned(3)),
    classes((0, "parts"), (1, "bolt"), (2, "nut")),
)
LEFT = IMAGES - 4


def files(root: Path) -> dict[str, bytes]:
    return {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file()}


def test_the_copy_is_clean_and_repairing_it_changes_nothing(tmp_path: Path) -> None:
    root = write(tmp_path / "set", PLANT)
    before = files(root)
    told = " ".join(fix(looked_at(root), tmp_path / "new"))
    assert files(root) == before
    assert "4 pictures left out, 8 boxes gone with them, 4 boxes left out" in told
    assert "1 box cut off at the edge, 1 picture annotated with the size of its file" in told
    assert "1 picture renamed" in told
    assert "2 pictures written without EXIF's turn, 1 class taken out" in told
    again = looked_at(tmp_path / "new")
    assert {each.severity for each in checked(again).defects} <= {"note"}
    list(fix(again, tmp_path / "newer"))
    assert files(tmp_path / "newer") == files(tmp_path / "new")


def test_what_is_right_stays_as_it_was(tmp_path: Path) -> None:
    root = write(tmp_path / "set", PLANT)
    list(fix(looked_at(root), tmp_path / "new"))
    old, new = (
        json.loads((each / "annotations" / "instances_train.json").read_text())
        for each in (root, tmp_path / "new")
    )
    assert [each["name"] for each in new["categories"]] == ["bolt", "nut"]
    assert len(new["images"]) == LEFT
    kept = {each["id"]: each for each in new["annotations"]}
    assert sorted(set(range(1, 45)) - set(kept)) == [5, 7, *range(21, 29)]
    assert kept[10]["bbox"] == [20, 16, 12, 12]
    assert kept[10]["area"] == 144
    assert kept[29]["bbox"] == [each / 2 for each in BOXES[0]]
    same = [
        each for each in old["annotations"] if each["id"] in kept and each["id"] not in (10, 29, 30)
    ]
    assert all(kept[each["id"]]["bbox"] == each["bbox"] for each in same)
    names = {each["id"]: each["file_name"] for each in new["images"]}
    assert names[1] == name(0)
    assert names[16] == name(15).replace(".png", ".jpg")


def test_a_picture_that_exif_turns_is_written_as_it_was_taken(tmp_path: Path) -> None:
    root = write(tmp_path / "set", both(sized(4, SIDE, 48), picture(4, turned(6, 48))))
    list(fix(looked_at(root), tmp_path / "new"))
    with (
        Image.open(root / "train" / name(4)) as old,
        Image.open(tmp_path / "new" / "train" / name(4)) as new,
    ):
        assert new.getexif().get(0x0112, 1) == 1
        assert np.array_equal(np.rot90(np.asarray(old), -1), np.asarray(new))


def test_classes_of_validation_alone_become_classes_of_both(tmp_path: Path) -> None:
    root = write(tmp_path / "set", classes((1, "bolt"), (2, "nut"), (3, "cog")), split="val")
    list(fix(looked_at(root), tmp_path / "new"))
    assert not checked(looked_at(tmp_path / "new")).errors


def test_no_folder_that_is_in_use_is_written_to(tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    subject = looked_at(root)
    for out, sentence in ((root, "is there already"), (root / "train" / "new", "which is read")):
        with pytest.raises(SettingError, match=sentence):
            list(fix(subject, out))


def test_pictures_that_nobody_divided_are_not_written_to_both_sides(tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    other = not_divided(root, tmp_path / "ü [x]")
    with pytest.raises(SettingError, match=rf"write {IMAGES} pictures .*data\.val_fraction=0\.2"):
        list(fix(looked_at(root, other), tmp_path / "new", [root, other]))
    list(fix(looked_at(root, other, val_fraction=0.2), tmp_path / "new", [root, other]))
    train, val = (
        {each["file_name"] for each in json.loads(file.read_text())["images"]}
        for file in sorted((tmp_path / "new" / "annotations").iterdir())
    )
    assert len(train) + len(val) == 3 * IMAGES
