"""What a format of annotations is; one file registers each (`FORMATS` in `detbox/registry.py`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from detbox.annotations.split import Split
from detbox.annotations.writing import Writer


class Source(NamedTuple):
    """Where one split lies."""

    images: Path
    """folder that file names start from"""
    annotations: Path
    """file or folder, as the format has it"""
    split: str = ""
    """`train` or `val`, where one place holds several; empty: all that is there"""


def _fits_nothing(source: Source) -> bool:
    return False


class Format(NamedTuple):
    """How annotations of one kind are found in a folder, and read."""

    places: str
    """what `find` looks for, to be told to a person"""
    find: Callable[[Path, str], Source | None]
    """(folder, `train` | `val`) -> where that split lies; None: not as this format has it"""
    find_undivided: Callable[[Path], Source | None]
    """folder -> all of its images, where it is not divided into splits"""
    read: Callable[[Source], Split]
    fits: Callable[[Source], bool] = _fits_nothing
    """whether a place that a person named is of this format"""
    suffix: str = ".json"
    """of its files, to tell what a folder comes nearest to"""
    writer: Writer | None = None
    """None: it is read alone"""
    documents_alone: bool = False
    """whether a source that names no split is read without a look at its pictures"""
