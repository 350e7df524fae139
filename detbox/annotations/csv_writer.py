"""Writes CSV with a line per object."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from detbox.annotations.csv_columns import CORNERS
from detbox.annotations.split import Split, corners
from detbox.annotations.writing import Splits, Writer, short
from detbox.annotations.written_names import in_one_space
from detbox.structures import LabelSpace

HEADER = ("filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax")
LARGEST = 10**18
"""that a class is numbered with"""


def write_csv(root: Path, splits: Splits) -> None:
    """`SPLIT/_annotations.csv`, where pictures without objects have a line, and `classes.csv`."""
    for part, split in splits.items():
        (root / part).mkdir(exist_ok=True)
        _write(root / part / "_annotations.csv", [HEADER, *_rows(split)])
    space = next(iter(splits.values())).label_space
    _write(root / "classes.csv", zip(space.names, space.category_ids, strict=True))


def _rows(split: Split) -> Iterator[tuple[object, ...]]:
    placed = corners(split.boxes)
    for index in range(split.num_images):
        height, width = split.size(index)
        start = (split.names[index], width, height)
        own = range(split.starts[index], split.starts[index + 1])
        for at in own:
            name = split.label_space.names[split.labels[at]]
            yield (*start, name, *map(short, placed[at].tolist()))
        if not own:
            yield (*start, "", *("" for _ in CORNERS))


def _write(file: Path, rows: Iterable[Sequence[object]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


def _numbered(splits: Splits) -> dict[str, Split]:
    """In classes whose numbers say their order, without a sign, else numbered from 0 on."""
    joined = in_one_space(splits)
    space = next(iter(joined.values())).label_space
    numbers = space.category_ids
    if list(numbers) != sorted(numbers) or not all(0 <= each < LARGEST for each in numbers):
        space = LabelSpace(space.names, tuple(range(len(space))))
    return {part: split._replace(label_space=space) for part, split in joined.items()}


CSV = Writer(write_csv, lambda part: part, frozenset({"boxes beyond", "repeats"}), _numbered)
