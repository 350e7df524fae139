"""The annotations of a COCO file by column: of rows that were decoded by type, or of entries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import compress
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from detbox.annotations.entries import Entry, Place, numbers
from detbox.annotations.masks import box_of


class Columns(Protocol):
    """A annotations."""

    def __len__(self) -> int:
        """A."""

    def column(self, key: str) -> Sequence[Any]:
        """What each says at a key; None: nothing."""

    def boxes(self) -> tuple[np.ndarray, np.ndarray]:
        """Left, top, width, height (A, 4), NaN where there is none; which are from masks (A,)."""

    def where(self, kept: Sequence[bool]) -> Columns:
        """Those that are kept."""

    def places(self, file: Path) -> Iterator[Place]:
        """Where each stands, for messages."""


class Entries(Columns):
    """Of any shape."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries

    def __len__(self) -> int:
        """A."""
        return len(self.entries)

    def column(self, key: str) -> Sequence[Any]:
        """What each says at a key; None: nothing."""
        return [entry.get(key) for entry in self.entries]

    def boxes(self) -> tuple[np.ndarray, np.ndarray]:
        """Those of `bbox`, or where it says nothing, around the masks."""
        boxes = numbers(self.column("bbox"), 4)
        masked = np.zeros(len(boxes), dtype=bool)
        for position in np.flatnonzero(~np.isfinite(boxes).all(1) | ~boxes.any(1)):
            box = box_of(self.entries[position].get("segmentation"))
            if box is not None:
                boxes[position], masked[position] = box, True
        return boxes, masked

    def where(self, kept: Sequence[bool]) -> Entries:
        """Those that are kept."""
        return Entries(list(compress(self.entries, kept)))

    def places(self, file: Path) -> Iterator[Place]:
        """Where each stands, for messages."""
        for position, entry in enumerate(self.entries):
            yield Place(file, "annotations", position, entry)


class Box:
    """Stands in a row for four numbers that lie in the block of all boxes."""


class Row(msgspec.Struct, gc=False):
    """An annotation with a box, as nearly every file has it."""

    image_id: int | str
    category_id: int | str
    bbox: Box
    id: int | str | None = None
    area: float | None = None
    iscrowd: int | bool | None = None


class Rows(Columns):
    """Of the usual shape, with boxes (A, 4) float64 left, top, width, height."""

    def __init__(self, rows: list[Row], boxes: np.ndarray) -> None:
        self.rows = rows
        self.packed = boxes

    def __len__(self) -> int:
        """A."""
        return len(self.rows)

    def column(self, key: str) -> Sequence[Any]:
        """What each says at a key."""
        return list(map(attrgetter(key), self.rows))

    def boxes(self) -> tuple[np.ndarray, np.ndarray]:
        """Those of `bbox`."""
        return self.packed, np.zeros(len(self), dtype=bool)

    def where(self, kept: Sequence[bool]) -> Rows:
        """Those that are kept."""
        return Rows(list(compress(self.rows, kept)), self.packed[np.array(kept, dtype=bool)])

    def places(self, file: Path) -> Iterator[Place]:
        """Where each stands, for messages."""
        for position, row in enumerate(self.rows):
            yield Place(file, "annotations", position, msgspec.structs.asdict(row))
