"""`detbox show_data`: sheets of what is annotated and of what training makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from planted import IMAGES, SIDE, both, classes, picture, write

import detbox
from detbox.commands.show_data import show_data
from detbox.errors import DataError, SettingError

SETTINGS = ("data.eval_size=32", "data.max_size=64", "data.train_sizes=[32,48]", "data.crop=false")
GAP = 8


def shown(root: Path, folder: Path, *settings: str) -> Path:
    folder.mkdir()
    given = (f"data.root={root}", *SETTINGS, *settings)
    show_data(detbox.compose(*given, config_name="show_data"), folder)
    return folder


def cells(file: Path, side: int) -> tuple[int, int]:
    """Rows and columns of a sheet of square cells."""
    with Image.open(file) as sheet:
        width, height = sheet.size
    return (height - GAP) // (side + GAP), (width - GAP) // (side + GAP)


def test_all_sheets_are_drawn(tmp_path: Path) -> None:
    plant = both(classes((1, "a/b: ü"), (2, "nut")), picture(0, lambda file: file.write_text("x")))
    folder = shown(write(tmp_path / "set", plant), tmp_path / "out", "count=5", "draws=3")
    assert cells(folder / "pictures.jpg", 480) == (1, 4)  # one of five cannot be read
    assert cells(folder / "augmented.jpg", 480) == (4, 3)
    assert sorted(file.name for file in (folder / "per_class").iterdir()) == [
        "a_b_ ü.jpg",
        "nut.jpg",
    ]
    assert cells(folder / "per_class" / "nut.jpg", 160) == (1, 4)
    assert cells(folder / "sizes.jpg", 160) == (1, 9)  # all objects are 10 pixels large


def test_a_cell_shows_its_object(tmp_path: Path) -> None:
    def marked(file: Path) -> None:
        pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
        pixels[4:13, 4:16] = (0, 0, 255)
        Image.fromarray(pixels).save(file)

    plant = both(*(picture(index, marked) for index in range(IMAGES)))
    folder = shown(write(tmp_path / "set", plant), tmp_path / "out", "count=1", "draws=1")
    with Image.open(folder / "per_class" / "bolt.jpg") as sheet:
        cell = np.asarray(sheet, dtype=np.int64)
    inside, outside = cell[GAP + 80, GAP + 80], cell[GAP + 8, GAP + 8]
    assert inside[2] > 200 > inside[0] + 100
    assert outside.max() < 60


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [("split=test", "expected train or val"), ("count=0", "count must be"), ("draws=x", "draws")],
)
def test_settings_are_checked(setting: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=sentence):
        shown(tmp_path, tmp_path / "out", setting)


def test_a_split_without_a_picture_is_refused(tmp_path: Path) -> None:
    plant = both(*(picture(at, lambda file: file.write_text("x")) for at in range(IMAGES)))
    with pytest.raises(DataError, match=r"none of 12 pictures of .*instances_train\.json"):
        shown(write(tmp_path / "set", plant), tmp_path / "out")
