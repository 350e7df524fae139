"""YOLO's labels: a text file per picture, a line per object."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from detbox.annotations.findings import Finding
from detbox.annotations.formats import Format, Source
from detbox.annotations.labelled import NO_BOXES, Labelled, split_of_pictures
from detbox.annotations.left_out import LeftOut
from detbox.annotations.listing import Listing
from detbox.annotations.pairing import Pairs, of_split
from detbox.annotations.split import Split
from detbox.annotations.texts import read_text
from detbox.annotations.yolo_places import (
    MOST_CLASSES,
    PLACES,
    Meta,
    classes_of,
    is_yolo,
    label_files,
    numbered,
    pictures_of,
)
from detbox.annotations.yolo_writer import YOLO
from detbox.errors import DataError
from detbox.messages import shown
from detbox.registry import FORMATS
from detbox.structures import LabelSpace

BEYOND = 0.1
"""of a picture; numbers that leave it by more are no shares of it"""


class Line(NamedTuple):
    """One object."""

    label: int
    box: tuple[float, float, float, float]
    """middle and extent, as shares of the picture"""
    outlined: bool = False
    """a polygon, of which this is the box"""


@FORMATS.register("yolo")
def yolo() -> Format:
    """YOLO: boxes, polygons and key points of `LABEL x y width height` as shares."""
    return Format(PLACES, find, find_undivided, read_yolo, fits, ".txt", YOLO)


def find(root: Path, split: str) -> Source | None:
    """The root itself, where it has pictures of that split."""
    listing = Listing.of(root)
    there = is_yolo(listing) and pictures_of(listing, Meta.of(listing), split)
    return Source(root, root, split) if there else None


def find_undivided(root: Path) -> Source | None:
    """The root itself."""
    listing = Listing.of(root)
    return Source(root, root) if listing.pictures and is_yolo(listing) else None


def fits(source: Source) -> bool:
    """A folder with text files."""
    return bool(label_files(Listing.of(source.annotations)))


def read_yolo(source: Source) -> Split:
    """Read the labels of a split; pictures without a file, or with an empty one, are background.

    Classes are named by `data.yaml`, `classes.txt` or a `.names` file, or else by their numbers.

    Raises:
        DataError: there are no pictures, names or numbers cannot be used.
    """
    images = Listing.of(source.images)
    texts = images if source.annotations == source.images else Listing.of(source.annotations)
    meta = Meta.of(texts)
    pictures, labels = pictures_of(images, meta, source.split), label_files(texts)
    pairs = Pairs(labels, pictures)
    chosen = [pairs.label(picture) for picture in pictures]
    lines = Lines(texts.root, "kpt_shape" in meta.fields)
    objects = [lines.read(label) if label else [] for label in chosen]
    space = classes_of(texts, meta)
    findings = [
        *images.findings(),
        *lines.left_out.findings(),
        *_unpaired(pictures, labels, chosen, source),
    ]
    if space is None:
        space = numbered(_count(texts.root, labels))
        what = "classes named by their numbers, for want of data.yaml and classes.txt"
        findings.append(Finding(what, len(space), space.names[0], defect=False))
    _check_counting(objects, space, texts.root)
    names = dict(zip(space.category_ids, space.names, strict=True))
    listed = [_labelled(*each, names) for each in zip(pictures, objects, strict=True)]
    return split_of_pictures(_source(texts.root, chosen), images.root, listed, space, findings)


class Lines:
    """Reads label files, and remembers what could not be read."""

    def __init__(self, root: Path, key_points: bool) -> None:
        self._root = root
        self._key_points = key_points
        self.left_out = LeftOut(root, "lines")

    def read(self, file: str) -> list[Line]:
        """The objects of a file, each once."""
        found: dict[Line, None] = {}
        for number, line in enumerate(read_text(self._root / file).split("\n"), 1):
            if not line.strip("\0 \t"):
                continue
            self.left_out.read += 1
            parsed = _parsed(line, self._key_points)
            if parsed is not None and _is_share(parsed.box):
                found[parsed] = None
                continue
            where = f"{file} line {number}: {shown(line)}"
            if parsed is None:
                self.left_out.add("left out that are no object", where, ODD)
            else:
                self.left_out.add("left out whose numbers are no shares", where, SHARES)
        return list(found)


ODD = "a line is a class number, then middle x, middle y, width and height, or a polygon's points"
SHARES = (
    "YOLO's numbers are shares of the picture from 0 to 1: divide x by its width, y by its height"
)


def _parsed(line: str, key_points: bool) -> Line | None:
    try:
        numbers = list(map(float, line.replace(",", " ").split()))
    except ValueError:
        return None
    if len(numbers) < 5 or not math.isfinite(sum(numbers)) or not numbers[0].is_integer():
        return None
    if not 0 <= numbers[0] < MOST_CLASSES:
        return None
    if len(numbers) == 5 or key_points:
        left, top, width, height = numbers[1:5]
        return Line(int(numbers[0]), (left, top, width, height))
    if len(numbers) % 2 == 0:
        return None
    across, down = numbers[1::2], numbers[2::2]
    (x0, x1), (y0, y1) = (min(across), max(across)), (min(down), max(down))
    box = ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0)
    return Line(int(numbers[0]), box, outlined=True)


def _is_share(box: Sequence[float]) -> bool:
    x, y, width, height = box
    least = min(x - width / 2, y - height / 2, width, height)
    most = max(x + width / 2, y + height / 2, x, y)
    return least >= -BEYOND and most <= 1 + BEYOND


def _labelled(picture: str, lines: Sequence[Line], names: dict[int, str]) -> Labelled:
    boxes = np.array([each.box for each in lines]) if lines else NO_BOXES
    classes = [names.get(each.label, f"class {each.label}") for each in lines]
    outlined = [each.outlined for each in lines]
    return Labelled(picture, classes, boxes, shares=True, outlined=outlined)


def _check_counting(objects: Sequence[Sequence[Line]], space: LabelSpace, root: Path) -> None:
    """Refuse numbers that are all one too large: each object would be learnt as its neighbour."""
    numbers, known = {line.label for lines in objects for line in lines}, set(space.category_ids)
    if numbers <= known or not {number - 1 for number in numbers} <= known:
        return
    raise DataError(
        f"{root}: expected classes from 0 to {max(known)} for {', '.join(space.names[:9])}, got "
        f"{min(numbers)} to {max(numbers)}; all fit with -1: the labels count from 1, "
        "so subtract 1 from the first number of every line"
    )


def _count(root: Path, labels: Sequence[str]) -> int:
    """Classes of all splits together, so that these agree."""
    lines = Lines(root, False)
    return 1 + max((each.label for file in labels for each in lines.read(file)), default=0)


def _unpaired(
    pictures: Sequence[str], labels: Sequence[str], chosen: Sequence[str | None], source: Source
) -> list[Finding]:
    bare = [picture for picture, label in zip(pictures, chosen, strict=True) if label is None]
    alone = sorted(set(of_split(labels, source.split)) - set(chosen))
    told = [
        ("images without a label file kept as background", bare, False),
        ("label files without an image left out", alone, True),
    ]
    return [Finding(what, len(files), files[0], defect) for what, files, defect in told if files]


def _source(root: Path, chosen: Sequence[str | None]) -> Path:
    """The folder that the labels have in common, to be named in messages."""
    folders = {os.path.dirname(label) for label in chosen if label}
    return root / os.path.commonpath(folders) if folders else root
