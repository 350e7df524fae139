"""What took long to read is read once, as long as nothing changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from odd_data import flawless, write_odd

from detbox.annotations import Source, keeping
from detbox.annotations.coco import coco, read_coco
from detbox.annotations.keeping import read_kept
from detbox.annotations.split import Split

Read = Callable[[], Split]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """An odd file, with a cache folder of its own."""
    monkeypatch.setenv("DETBOX_CACHE", str(tmp_path / "cache"))
    root = write_odd(
        tmp_path / "döner 1",
        lambda document, _: document["annotations"][0].update(bbox=[1, 1, 0, 4]),
    )
    return Source(root / "train", root / "annotations" / "instances_train.json")


@pytest.fixture
def read(source: Source, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Reads it, and keeps it however fast that was."""
    monkeypatch.setattr(keeping, "LONG", -1.0)
    return lambda: read_kept("coco", coco(), source)


def test_what_is_kept_is_the_same_and_no_file_is_decoded(read: Read, source: Source) -> None:
    first = read()
    with patch("detbox.annotations.coco.read_document", side_effect=AssertionError):
        again = read()
    for name in Split._fields:
        ours, theirs = getattr(again, name), getattr(first, name)
        if isinstance(ours, np.ndarray):
            assert ours.dtype == theirs.dtype
            assert ours.tolist() == theirs.tolist()
        elif name != "names":
            assert ours == theirs
    assert again.paths(9) == first.paths(9) == read_coco(source).paths(9)
    assert again.findings[-1].what == "zero-area boxes dropped"


def test_a_file_that_changes_is_read_again(read: Read, source: Source) -> None:
    before = read().num_boxes
    state = source.annotations.stat()
    source.annotations.write_text(source.annotations.read_text().replace("[1, 1, 0,", "[1, 1, 9,"))
    os.utime(source.annotations, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert read().num_boxes == before + 1


def test_a_reader_that_changes_reads_again(read: Read, tmp_path: Path) -> None:
    read()
    (tmp_path / "reader.py").touch()
    with (
        patch.object(keeping, "_readers", return_value=[tmp_path / "reader.py"]),
        patch("detbox.annotations.coco.read_document", side_effect=RuntimeError),
        pytest.raises(RuntimeError),
    ):
        read()


def test_what_is_read_fast_or_cannot_be_kept_is_read(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_kept("coco", coco(), source)
    assert not (tmp_path / "cache").exists()
    (tmp_path / "cache").write_text("in the way")
    monkeypatch.setattr(keeping, "LONG", -1.0)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert read_kept("coco", coco(), source).num_images == len(flawless("train")["images"])


@pytest.mark.parametrize("spoilt", [b"", b"PK\x03\x04junk", b"\x93NUMPY"])
def test_a_spoilt_file_is_written_anew(read: Read, tmp_path: Path, spoilt: bytes) -> None:
    read()
    (file,) = (tmp_path / "cache" / "annotations").glob("*.npz")
    file.write_bytes(spoilt)
    assert read().num_boxes
    assert len(file.read_bytes()) > 999
