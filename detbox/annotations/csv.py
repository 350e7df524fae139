"""CSV: a line per object, with the picture's name in each."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from detbox.annotations.csv_columns import Row, layout, rows
from detbox.annotations.csv_writer import CSV
from detbox.annotations.documents import split_called, split_of_document
from detbox.annotations.formats import Format, Source
from detbox.annotations.labelled import NO_BOXES, Labelled, split_of_pictures
from detbox.annotations.left_out import LeftOut
from detbox.annotations.listing import Listing
from detbox.annotations.pairing import Pictures, left_out_pictures, split_of_file, stand_in
from detbox.annotations.split import Split
from detbox.annotations.texts import read_text
from detbox.registry import FORMATS
from detbox.structures import LabelSpace

PLACES = (
    "CSV with a line per object: filename,width,height,class,xmin,ymin,xmax,ymax or image,x,y,w,h,"
    "label and the like, or path,x1,y1,x2,y2,class without a header; train.csv and val.csv, "
    "train/ and val/ with one each, or one with a column split"
)
CLASS_LIST = 2**20
"""bytes"""
NO_LINE = "give every line the picture's name and four numbers"


class Documents(NamedTuple):
    """CSV files of boxes and the pictures around them."""

    images: Listing
    root: Path
    """where the files' names start"""
    files: tuple[str, ...]
    classes: LabelSpace | None

    @classmethod
    def of(cls, source: Source) -> Documents:
        """In a folder, or the one file that is named."""
        images = Listing.of(source.images)
        if source.annotations.is_file():
            return cls(images, source.annotations.parent, (source.annotations.name,), None)
        inside = source.annotations == source.images
        listing = images if inside else Listing.of(source.annotations)
        files = listing.ending(".csv", ".tsv")
        boxed = tuple(each for each in files if layout(listing.root / each)[0])
        others = [listing.root / each for each in files if each not in boxed]
        return cls(images, listing.root, boxed, _classes(others) if boxed else None)

    def rows(self, split: str, left_out: LeftOut | None = None) -> Iterator[tuple[Row, str]]:
        """Those of a split, each with its picture; all of them where `split` is empty."""
        pictures = Pictures(self.images)
        for file in self.files:
            whole = split_of_document(file)
            if split and whole not in (None, split):
                continue
            beside = file.rpartition("/")[0] if self.root == self.images.root else ""
            for row in rows(self.root / file):
                if left_out:
                    left_out.read += 1
                if isinstance(row, int):
                    if left_out:
                        left_out.add("left out that name no image", f"{file}, {row}", NO_LINE)
                    continue
                name = pictures.find(row.file, beside, split)
                own = split_called(row.split) or whole or (name and split_of_file(name))
                if not split or own == split:
                    yield row, name or stand_in(row.file, beside)


@FORMATS.register("csv")
def csv() -> Format:
    """CSV under any of the usual headers, or RetinaNet's without one."""
    return Format(PLACES, find, find_undivided, read_csv, fits, ".csv", CSV)


def find(root: Path, split: str) -> Source | None:
    """The root itself, where a file has lines of that split."""
    source = Source(root, root, split)
    return source if next(Documents.of(source).rows(split), None) else None


def find_undivided(root: Path) -> Source | None:
    """The root itself."""
    source = Source(root, root)
    return source if Documents.of(source).files else None


def fits(source: Source) -> bool:
    """A file with such lines."""
    file = source.annotations
    return file.is_file() and file.suffix.lower() in (".csv", ".tsv") and bool(layout(file)[0])


def read_csv(source: Source) -> Split:
    """Read the lines of a split, pictures in the order of their first line.

    A line without a box is a picture without objects. Boxes that all lie within one pixel are
    shares of the picture. Classes have the order of a `classes.csv` (name,number), else of names.

    Raises:
        DataError: half of the lines or more cannot be read, or `split_of_pictures` refuses them.
    """
    documents = Documents.of(source)
    left_out = LeftOut(source.annotations, "lines")
    grouped: dict[str, list[Row]] = {}
    for row, name in documents.rows(source.split, left_out):
        grouped.setdefault(name, []).append(row)
    shares = _are_shares(row for each in grouped.values() for row in each)
    listed = [_labelled(name, each, shares) for name, each in grouped.items()]
    what, pictures = "image files that no line names left out", documents.images.pictures
    findings = [
        *documents.images.findings(),
        *left_out.findings(),
        *left_out_pictures(what, pictures, source.split, grouped),
    ]
    file = documents.root / documents.files[0] if len(documents.files) == 1 else source.annotations
    return split_of_pictures(file, documents.images.root, listed, documents.classes, findings)


def _labelled(name: str, lines: Sequence[Row], shares: bool) -> Labelled:
    objects = [(row.label or "no name", row.box) for row in lines if row.box is not None]
    boxes = np.array([box for _, box in objects]) if objects else NO_BOXES
    if shares:
        boxes[:, :2] += boxes[:, 2:] / 2
    size = next((row.size for row in lines if row.size), None)
    return Labelled(name, [label for label, _ in objects], boxes, size, shares)


def _are_shares(lines: Iterable[Row]) -> bool:
    """As Open Images has them."""
    found = False
    for row in lines:
        if row.box is None or not all(map(math.isfinite, row.box)):
            continue
        left, top, width, height = row.box
        if max(left + width, top + height, left, top) > 1:
            return False
        found = found or not width.is_integer() or not height.is_integer()
    return found


def _classes(files: Sequence[Path]) -> LabelSpace | None:
    """Of a file `name,number`."""
    for file in files:
        lines = read_text(file, CLASS_LIST).split("\n") if file.stat().st_size < CLASS_LIST else []
        pairs = [re.fullmatch(r"\s*(.+?)\s*[,;\t]\s*(\d{1,18})\s*", each) for each in lines if each]
        known = {int(each[2]): _unquoted(each[1]) for each in pairs if each}
        if known and all(pairs) and len(set(known.values())) == len(known) == len(pairs):
            numbers = sorted(known)
            return LabelSpace(tuple(known[each] for each in numbers), tuple(numbers))
    return None


def _unquoted(name: str) -> str:
    quoted = re.fullmatch(r'"(.*)"', name)
    return quoted[1].replace('""', '"') if quoted else name
