"""Every odd data set is read, or refused in one sentence that says what to mend."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from odd_data import ODD, Odd, write_odd

from detbox.annotations.split import Split
from detbox.data.module import DataModule
from detbox.errors import DetboxError
from detbox.messages import printable
from detbox.registry import DATA


def train_split(root: Path) -> Split:
    """As a training reads it."""
    data = DataModule(DATA.build({"name": "coco", "workers": 0, "root": str(root)}), 0)
    assert len(data.label_space) == 2
    return data.train


@pytest.mark.parametrize("odd", [odd for odd in ODD if odd.boxes is not None], ids=str)
def test_what_can_be_read_is_read_and_said(odd: Odd, tmp_path: Path) -> None:
    split = train_split(write_odd(tmp_path / "data", odd.spoil))
    assert split.num_boxes == odd.boxes
    assert re.search(odd.sentence, split.summary())
    missing = "missing" in odd.sentence
    assert all(path.is_file() for path in split.paths(9)[missing:])
    assert printable(split.summary()) == split.summary()


@pytest.mark.parametrize("odd", [odd for odd in ODD if odd.boxes is None], ids=str)
def test_what_cannot_be_read_is_refused_in_one_sentence(odd: Odd, tmp_path: Path) -> None:
    with pytest.raises(DetboxError) as refused:
        train_split(write_odd(tmp_path / "data", odd.spoil))
    told = str(refused.value)
    assert re.search(odd.sentence, told), told
    assert "instances_train.json" in told
    assert len(told.splitlines()) == 1
    assert len(told) < 1200
