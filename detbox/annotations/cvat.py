"""CVAT's XML for images: one file for many pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np

from detbox.annotations.documents import split_called, split_of_document
from detbox.annotations.entries import numbers
from detbox.annotations.formats import Format, Source
from detbox.annotations.headers import Size
from detbox.annotations.labelled import NO_BOXES, Labelled, split_of_pictures
from detbox.annotations.left_out import LeftOut
from detbox.annotations.listing import Listing
from detbox.annotations.pairing import Pictures, left_out_pictures, split_of_file, stand_in
from detbox.annotations.split import Split
from detbox.annotations.xml import elements, root_name
from detbox.errors import DataError
from detbox.registry import FORMATS
from detbox.structures import LabelSpace

PLACES = (
    "CVAT's XML ('CVAT for images 1.1'): train.xml and val.xml, train/ and val/ with an "
    "annotations.xml each, or one annotations.xml with subsets"
)
LARGEST = 2**28
"""bytes of a file"""
LOOKED_AT = 5
"""files of which one must be CVAT's"""
SHAPES = {"polygon", "polyline", "points", "ellipse", "mask", "cuboid", "skeleton"}
NO_BOX = "draw boxes or polygons"


class Documents(NamedTuple):
    """CVAT's files and the pictures around them."""

    images: Listing
    root: Path
    files: tuple[str, ...]

    @classmethod
    def of(cls, source: Source) -> Documents:
        """In a folder, or the one file that is named."""
        images = Listing.of(source.images)
        if source.annotations.is_file():
            return cls(images, source.annotations.parent, (source.annotations.name,))
        inside = source.annotations == source.images
        listing = images if inside else Listing.of(source.annotations)
        files = listing.ending(".xml")
        if not any(_is_cvat(listing, each) for each in files[:LOOKED_AT]):
            files = []
        return cls(images, listing.root, tuple(each for each in files if _is_cvat(listing, each)))

    def entries(self, split: str, classes: dict[str, None]) -> Iterator[tuple[Element, str]]:
        """`image` elements of a split with their pictures; fills the names of the classes."""
        pictures = Pictures(self.images)
        for file in self.files:
            own = split_of_document(file)
            if split and own not in (None, split):
                continue
            beside = file.rpartition("/")[0] if self.root == self.images.root else ""
            for image in _images(self.root / file, classes):
                named = image.get("name") or "no name"
                name = pictures.find(named, beside, split) or stand_in(named, beside)
                subset = split_called(image.get("subset") or "")
                if not split or (subset or own or split_of_file(name)) == split:
                    yield image, name


def _is_cvat(listing: Listing, file: str) -> bool:
    """Whether its first element is CVAT's."""
    return root_name(listing.root / file) == "annotations"


@FORMATS.register("cvat")
def cvat() -> Format:
    """CVAT for images: boxes, and polygons as the box around them; no tracks."""
    return Format(PLACES, find, find_undivided, read_cvat, fits, ".xml")


def find(root: Path, split: str) -> Source | None:
    """The root itself, where a file has pictures of that split."""
    source = Source(root, root, split)
    return source if next(Documents.of(source).entries(split, {}), None) else None


def find_undivided(root: Path) -> Source | None:
    """The root itself."""
    source = Source(root, root)
    return source if Documents.of(source).files else None


def fits(source: Source) -> bool:
    """A file whose first element is CVAT's."""
    return source.annotations.is_file() and root_name(source.annotations) == "annotations"


def read_cvat(source: Source) -> Split:
    """Read the pictures of a split, in the order of the files.

    Classes have the order of the task's labels, or else of their names.

    Raises:
        DataError: it is no XML, holds tracks of a video, half of the shapes have no box, or
            `split_of_pictures` refuses them.
    """
    documents = Documents.of(source)
    left_out = LeftOut(source.annotations, "shapes")
    classes: dict[str, None] = {}
    listed: dict[str, Labelled] = {}
    for image, name in documents.entries(source.split, classes):
        listed.setdefault(name, _labelled(image, name, left_out))
    what, pictures = "image files that no entry names left out", documents.images.pictures
    findings = [
        *documents.images.findings(),
        *left_out.findings(),
        *left_out_pictures(what, pictures, source.split, listed),
    ]
    space = LabelSpace(tuple(classes), tuple(range(1, len(classes) + 1))) if classes else None
    file = documents.root / documents.files[0] if len(documents.files) == 1 else source.annotations
    return split_of_pictures(file, documents.images.root, list(listed.values()), space, findings)


def _images(file: Path, classes: dict[str, None]) -> Iterator[Element]:
    """The `image` elements, each let go after its use."""
    depth = 0
    for event, element in elements(file, LARGEST):
        depth += 1 if event == "start" else -1
        if event == "start":
            continue
        if element.tag == "track":
            raise DataError(
                f"{file} holds tracks of a video, whose boxes lie between key frames; "
                "export the task as 'CVAT for images 1.1'"
            )
        if element.tag == "label" and (name := (element.findtext("name") or "").strip()):
            classes.setdefault(name)
        if depth == 1:
            if element.tag == "image":
                yield element
            element.clear()


def _labelled(image: Element, name: str, left_out: LeftOut) -> Labelled:
    labels, boxes, outlined = [], [], []
    for shape in image:
        if shape.tag != "box" and shape.tag not in SHAPES:
            continue
        left_out.read += 1
        box = _box(shape)
        if box is None:
            where = f"{shape.tag} of {image.get('name')}"
            left_out.add("left out that have no box", where, NO_BOX)
            continue
        boxes.append(box)
        labels.append((shape.get("label") or "").strip() or "no name")
        outlined.append(shape.tag != "box")
    placed = np.array(boxes) if boxes else NO_BOXES
    return Labelled(name, labels, placed, _size(image), outlined=outlined)


def _box(shape: Element) -> tuple[float, ...] | None:
    """Left, top, width, height; the box around a turned box or a polygon."""
    if shape.tag == "box":
        corners = [shape.get(key) for key in ("xtl", "ytl", "xbr", "ybr")]
        left, top, right, bottom = numbers([corners], 4)[0].tolist()
        turned = numbers([shape.get("rotation") or "0"])[0]
        return _turned((left, top, right - left, bottom - top), turned)
    if shape.tag != "polygon":
        return None
    words = re.split("[;,]", shape.get("points") or "")
    if len(words) < 6 or len(words) % 2:
        return None
    points = numbers(words).reshape(-1, 2)
    return (*points.min(0).tolist(), *np.ptp(points, 0).tolist())


def _turned(box: Sequence[float], degrees: float) -> tuple[float, ...]:
    """Around its middle."""
    if not degrees:
        return tuple(box)
    left, top, width, height = box
    cosine, sine = abs(np.cos(np.radians(degrees))), abs(np.sin(np.radians(degrees)))
    across, down = width * cosine + height * sine, width * sine + height * cosine
    return left + (width - across) / 2, top + (height - down) / 2, across, down


def _size(image: Element) -> Size | None:
    height, width = numbers([image.get("height"), image.get("width")])
    if not (1 <= height < 2**31 and 1 <= width < 2**31):
        return None
    return int(height), int(width)
