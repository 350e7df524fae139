"""Pascal VOC: an XML file per picture."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from detbox.annotations.findings import Finding
from detbox.annotations.formats import Format, Source
from detbox.annotations.headers import Size
from detbox.annotations.labelled import NO_BOXES, Labelled, split_of_pictures
from detbox.annotations.left_out import LeftOut
from detbox.annotations.listing import Listing
from detbox.annotations.pairing import (
    WITHOUT_FILE,
    Pairs,
    Pictures,
    left_out_pictures,
    of_split,
    stand_in,
)
from detbox.annotations.split import Split
from detbox.annotations.texts import read_text
from detbox.annotations.voc_writer import VOC
from detbox.annotations.xml import read_xml, root_name
from detbox.errors import DataError
from detbox.registry import FORMATS

PLACES = (
    "Pascal VOC's XML, one per picture: Annotations/ with JPEGImages/ and ImageSets/Main/train.txt "
    "and val.txt, or train/ and val/ with the pictures and their .xml"
)
LISTS = {"train": ("train", "trainval"), "val": ("val", "valid", "validation", "test")}
"""of ImageSets/Main, the first that is there; `trainval` and `test` go together"""
LONGEST = 2**31 - 1
"""pixels"""


@FORMATS.register("voc")
def voc() -> Format:
    """Pascal VOC: `annotation` with `object` and `bndbox`; pixels are taken as they stand."""
    return Format(PLACES, find, find_undivided, read_voc, fits, ".xml", VOC)


def find(root: Path, split: str) -> Source | None:
    """The root itself, where it has XML files of that split."""
    listing = Listing.of(root)
    files = _files(listing)
    return Source(root, root, split) if files and _of_split(listing, files, split) else None


def find_undivided(root: Path) -> Source | None:
    """The root itself."""
    return Source(root, root) if _files(Listing.of(root)) else None


def fits(source: Source) -> bool:
    """A folder with such files."""
    return bool(_files(Listing.of(source.annotations)))


def read_voc(source: Source) -> Split:
    """Read the XML files of a split; a picture without a file is left out.

    Objects that are marked as difficult are neither learnt nor scored. Classes are sorted by name.

    Raises:
        DataError: half of the files or more cannot be read, or `split_of_pictures` refuses them.
    """
    images = Listing.of(source.images)
    texts = images if source.annotations == source.images else Listing.of(source.annotations)
    files = _of_split(texts, _files(texts), source.split)
    pairs = Pairs(images.pictures, files)
    pictures = Pictures(images)
    left_out = LeftOut(texts.root, "files")
    listed = []
    for file in files:
        left_out.read += 1
        try:
            element = read_xml(texts.root / file)
        except DataError as error:
            left_out.add("left out that cannot be read", str(error), "mend them")
            continue
        own = file if texts.root == images.root else file.rpartition("/")[2]
        listed.append(_labelled(element, own, pairs.label(file), pictures, source.split))
    named = {each.name for each in listed}
    findings = [
        *images.findings(),
        *left_out.findings(),
        *left_out_pictures(WITHOUT_FILE, images.pictures, source.split, named),
    ]
    difficult = [each.name for each in listed if any(each.crowd)]
    if difficult:
        what = "images have difficult objects, neither learnt nor scored"
        findings.append(Finding(what, len(difficult), difficult[0], defect=False))
    return split_of_pictures(source.annotations, images.root, listed, None, findings)


def _files(listing: Listing) -> list[str]:
    """XML files, where the first of them are VOC's."""
    files = listing.ending(".xml")
    return (
        files if any(root_name(listing.root / each) == "annotation" for each in files[:5]) else []
    )


def _of_split(listing: Listing, files: Sequence[str], split: str) -> list[str]:
    """As `ImageSets/Main` lists them, in every folder that has one, or else by folders."""
    if not split:
        return list(files)
    found: list[str] = []
    for name in LISTS[split]:
        for file in listing.ending(f"imagesets/main/{name}.txt"):
            if name == "test" and listing.root.joinpath(file).with_name("val.txt").exists():
                continue
            found += _listed(listing, files, file)
        if found:
            return sorted(set(found))
    return of_split(files, split)


def _listed(listing: Listing, files: Sequence[str], file: str) -> list[str]:
    front = file[: -len("ImageSets/Main/") - len(file.rpartition("/")[2])]
    lines = read_text(listing.root / file).split("\n")
    own = [each for each in files if each.startswith(front)]
    known = {_stem(each) for each in own}
    stems = {_meant(line, known) for line in lines}
    return [each for each in own if _stem(each) in stems]


def _meant(line: str, known: Collection[str]) -> str:
    """The stem that a line names: as it stands, without a class's flag, or without a suffix."""
    plain = re.sub(r"\s+-?[01]$", "", line.strip())
    readings = (line, line.strip(), plain, plain.rpartition(".")[0])
    return next((each for each in readings if each in known), "")


def _stem(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0]


def _labelled(
    element: Element, file: str, paired: str | None, pictures: Pictures, split: str
) -> Labelled:
    fields = _children(element)
    named = _text(fields.get("filename"))
    beside = file.rpartition("/")[0]
    name = paired or (pictures.find(named, beside, split) if named else None)
    objects = [_children(each) for each in element if each.tag == "object"]
    boxes = np.array([_box(each.get("bndbox")) for each in objects]) if objects else NO_BOXES
    return Labelled(
        name
        or stand_in(named or f"{file}.jpg", re.sub(r"(?<![^/])Annotations$", "JPEGImages", beside)),
        [_text(each.get("name")) or "no name" for each in objects],
        boxes,
        _size(fields.get("size")),
        crowd=[_text(each.get("difficult")) in ("1", "true") for each in objects],
    )


def _children(element: Element | None) -> dict[str, Element]:
    """The first of each name; a search for each would take most of the time."""
    return {} if element is None else {each.tag: each for each in reversed(element)}


def _text(element: Element | None) -> str:
    return "" if element is None else (element.text or "").strip()


def _box(element: Element | None) -> tuple[float, float, float, float]:
    """Left, top, width, height; the field's tools do not shift VOC's pixels, which count from 1."""
    fields = _children(element)
    found = (fields.get(key) for key in ("xmin", "ymin", "xmax", "ymax"))
    left, top, right, bottom = map(_number, found)
    return left, top, right - left, bottom - top


def _size(element: Element | None) -> Size | None:
    fields = _children(element)
    height, width = (_number(fields.get(key)) for key in ("height", "width"))
    if not (1 <= height <= LONGEST and 1 <= width <= LONGEST):
        return None
    return int(height), int(width)


def _number(element: Element | None) -> float:
    try:
        number = float(_text(element) or "nan")
    except ValueError:
        return math.nan
    return number if abs(number) <= LONGEST else math.nan
