"""Class names of any script on pictures: a font that has them, or the id and advice."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from odd_names import ODD_CLASSES
from PIL import ImageFont

from detbox.evaluation import fonts
from detbox.evaluation.drawing import draw
from detbox.evaluation.fonts import LONGEST, font_file, legible, runs
from detbox.structures import Detections, LabelSpace

CJK = "猫"


@pytest.fixture(autouse=True)
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine with one font that is broken, and Pillow's own in a file."""
    font = cast("ImageFont.FreeTypeFont", ImageFont.load_default(16))
    (tmp_path / "a.ttf").write_bytes(b"no font")
    (tmp_path / "b.ttf").write_bytes(cast("io.BytesIO", font.path).getvalue())
    monkeypatch.setattr(fonts, "FOLDERS", (str(tmp_path),))
    monkeypatch.setattr(fonts, "_of_fontconfig", list)
    _forget()
    yield tmp_path
    _forget()


def _forget() -> None:
    fonts._files.cache_clear()
    fonts._file_with.cache_clear()


def named(*names: str) -> LabelSpace:
    return LabelSpace(names, tuple(range(10, 10 + len(names))))


def test_names_that_no_font_has_become_ids(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert legible(named("cat", CJK, "बिल्ली", "😀")) == ("cat", "id 11", "id 12", "id 13")
    (record,) = caplog.records
    expected = "install Noto Emoji, Noto Sans CJK, Noto Sans Devanagari"
    assert record.getMessage().endswith(expected)
    assert "ids of 3 classes" in record.getMessage()


def test_a_font_of_the_system_is_used(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = str(system / "b.ttf")
    whole = fonts._has
    monkeypatch.setattr(fonts, "_has", lambda f, c: f == file if CJK in c else whole(f, c))
    assert legible(named(f"{CJK} cat")) == (f"{CJK} cat",)
    (first, second) = runs(f"{CJK}{CJK} cat", 20)
    assert (first[0], first[1].path) == (CJK * 2, file)
    assert (second[0], font_file(second[0])) == (" cat", "")


def test_words_that_run_from_right_to_left_stay_together() -> None:
    assert [run for run, _ in runs("قطة سوداء 0.90", 12)] == ["قطة سوداء", " 0.90"]


def test_coverage_is_of_every_character() -> None:
    assert fonts._has("", frozenset("cat"))
    assert not fonts._has("", frozenset(f"cat{CJK}"))
    assert font_file("cat") == ""
    assert font_file(CJK) is None


@pytest.mark.parametrize("name", ODD_CLASSES)
def test_every_name_can_be_drawn(name: str) -> None:
    (shown,) = legible(named(name))
    assert len(shown) <= LONGEST
    image = torch.full((3, 80, 160), 90, dtype=torch.uint8)
    box = torch.tensor([[20.0, 30.0, 90.0, 70.0]])
    found = Detections(box, torch.tensor([0.9]), torch.tensor([0]))
    for each in (shown, name):  # also as they are, from elsewhere
        drawn = draw(image, found, (each,), truth=found)
        assert not np.array_equal(np.asarray(drawn), image.permute(1, 2, 0).numpy())
