"""LabelMe: a JSON file per picture."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detbox.annotations.entries import numbers, whole
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
from detbox.annotations.texts import decoded, read_bytes
from detbox.errors import DataError
from detbox.messages import shown
from detbox.registry import FORMATS

PLACES = (
    "LabelMe's JSON, one per picture: train/ and val/ with the pictures and their .json, "
    "or all of them in one folder"
)
LOOKED_AT = 5
"""files that are asked whether they are LabelMe's"""
AREAS = {"rectangle": 2, "polygon": 3, "circle": 2, "mask": 2, "rotation": 3}
"""kinds of shapes that have a box, and how many points they need"""
NO_BOX = "draw rectangles, polygons or circles"


@FORMATS.register("labelme")
def labelme() -> Format:
    """LabelMe: `shapes` with `points`; a polygon and a circle count as the box around them."""
    return Format(PLACES, find, find_undivided, read_labelme, fits)


def find(root: Path, split: str) -> Source | None:
    """The root itself, where it has files of that split."""
    files = _files(Listing.of(root))
    return Source(root, root, split) if of_split(files, split) else None


def find_undivided(root: Path) -> Source | None:
    """The root itself."""
    return Source(root, root) if _files(Listing.of(root)) else None


def fits(source: Source) -> bool:
    """A folder with such files."""
    return bool(_files(Listing.of(source.annotations)))


def read_labelme(source: Source) -> Split:
    """Read the files of a split; a picture without a file is left out.

    Classes are sorted by name. Pictures inside the JSON (`imageData`) are not used.

    Raises:
        DataError: half of the files or shapes cannot be used, or `split_of_pictures` refuses them.
    """
    images = Listing.of(source.images)
    inside = source.annotations == source.images
    texts = images if inside else Listing.of(source.annotations)
    files = of_split(_files(texts), source.split)
    pairs, pictures = Pairs(images.pictures, files), Pictures(images)
    unread, shapeless = LeftOut(texts.root, "files"), LeftOut(texts.root, "shapes")
    listed = []
    for file in files:
        unread.read += 1
        try:
            document = _document(texts.root / file)
        except DataError as error:
            unread.add("left out that cannot be read", str(error), "mend them")
            continue
        beside = file.rpartition("/")[0] if inside else ""
        named = document.get("imagePath")
        named = named if isinstance(named, str) else ""
        name = pairs.label(file) or (named and pictures.find(named, beside, source.split))
        name = name or stand_in(named or f"{file}.jpg", beside)
        listed.append(_labelled(document, name, file, shapeless))
    known = {each.name for each in listed}
    findings = [
        *images.findings(),
        *unread.findings(),
        *shapeless.findings(),
        *left_out_pictures(WITHOUT_FILE, images.pictures, source.split, known),
    ]
    return split_of_pictures(source.annotations, images.root, listed, None, findings)


def _files(listing: Listing) -> list[str]:
    """JSON files, where the first of them are LabelMe's."""
    files = listing.ending(".json")
    return files if any(_is_labelme(listing.root / each) for each in files[:LOOKED_AT]) else []


def _is_labelme(file: Path) -> bool:
    try:
        return isinstance(_document(file).get("shapes"), list)
    except DataError:
        return False


def _document(file: Path) -> dict[str, Any]:
    """One file, without the picture in it.

    Raises:
        DataError: it is no JSON of LabelMe.
    """
    try:
        document = json.loads(decoded(read_bytes(file)).lstrip("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is no valid JSON ({error}); export it again") from None
    if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
        raise DataError(f"{file} lacks the list 'shapes' of LabelMe; move it out of the folder")
    document.pop("imageData", None)
    return document


def _labelled(document: dict[str, Any], name: str, file: str, left_out: LeftOut) -> Labelled:
    labels, boxes, outlined = [], [], []
    for number, shape in enumerate(document["shapes"], 1):
        left_out.read += 1
        box = _box(shape) if isinstance(shape, dict) else None
        if box is None:
            left_out.add("left out that have no box", f"{file}, {number}: {shown(shape)}", NO_BOX)
            continue
        boxes.append(box)
        label = str(shape.get("label", "")).strip()
        labels.append(label.encode("utf-8", "replace").decode() or "no name")
        outlined.append(shape.get("shape_type") != "rectangle")
    placed = np.array(boxes) if boxes else NO_BOXES
    return Labelled(name, labels, placed, _size(document), outlined=outlined)


def _box(shape: dict[str, Any]) -> tuple[float, float, float, float] | None:
    """Left, top, width, height around the points."""
    kind, points = shape.get("shape_type") or "polygon", shape.get("points")
    least = AREAS.get(kind) if isinstance(kind, str) else None
    if least is None or not isinstance(points, list) or len(points) < least:
        return None
    placed = numbers(points, 2)
    if not np.isfinite(placed).all():
        return None
    if kind == "circle":
        return _around(placed)
    (left, top), (right, bottom) = placed.min(0).tolist(), placed.max(0).tolist()
    return left, top, right - left, bottom - top


def _around(points: Sequence[Sequence[float]] | np.ndarray) -> tuple[float, float, float, float]:
    """The middle of a circle and a point on it."""
    (x, y), (other_x, other_y) = points[:2]
    radius = math.hypot(other_x - x, other_y - y)
    return float(x - radius), float(y - radius), 2 * radius, 2 * radius


def _size(document: dict[str, Any]) -> Size | None:
    height, width = (whole(document.get(key)) or 0 for key in ("imageHeight", "imageWidth"))
    return (height, width) if 1 <= height < 2**31 and 1 <= width < 2**31 else None
