"""`images` of a COCO file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from detbox.annotations.entries import Entry, Key, Place, whole
from detbox.annotations.findings import Finding, found
from detbox.annotations.ids import Ids, fit_int64, given_keys, refuse_repeated
from detbox.annotations.packing import Images
from detbox.messages import shown

LONGEST = 2**31 - 1
"""pixels a side, the limit of PNG"""
URL = "coco_url"


class ImageList(NamedTuple):
    """What the list says."""

    images: Images
    ids: Ids
    findings: tuple[Finding, ...]


def read_images(entries: list[Entry], file: Path) -> ImageList:
    """The images of a file; an entry that is there twice counts once.

    Ids that are no 64-bit numbers are replaced by 1 to N.

    Raises:
        DataError: an entry lacks an id, a size or a name, or two images have one id.
    """
    places = [Place(file, "images", index, entry) for index, entry in enumerate(entries)]
    keys = given_keys(places)
    places, keys, findings = _without_repeats(places, keys)
    refuse_repeated(keys, "image", places)
    numbers: Sequence[Key] = keys
    if not fit_int64(keys):
        numbers = range(1, len(keys) + 1)
        told = "images numbered from 1 on, since not all ids are whole numbers of 64 bits"
        findings += (Finding(told, len(keys), shown(keys[0]), defect=False),)
    sizes = [(_side(place, "height"), _side(place, "width")) for place in places]
    names = [_name(place) for place in places]
    ids = Ids("image_id", {key: i for i, key in enumerate(keys)}, lambda: _called(names))
    images = Images(np.array(numbers, np.int64), np.array(sizes, np.int64), names)
    return ImageList(images, ids, findings + _shared(names))


def _without_repeats(
    places: list[Place], keys: list[Key]
) -> tuple[list[Place], list[Key], tuple[Finding, ...]]:
    """Without the entries that repeat an earlier one's id and file."""
    if len(set(keys)) == len(keys):
        return places, keys, ()
    named = zip(keys, places, strict=True)
    files = [(key, shown(place.entry.get("file_name"))) for key, place in named]
    first: dict[tuple[Key, str], int] = {}
    for position, each in enumerate(files):
        first.setdefault(each, position)
    kept = sorted(first.values())
    again = np.array([first[each] != position for position, each in enumerate(files)])
    findings = found("repeated entries of images left out", again, lambda i: shown(keys[i]))
    return [places[i] for i in kept], [keys[i] for i in kept], findings


def _side(place: Place, key: str) -> int:
    side = place.entry.get(key)
    if type(side) is not int:
        side = whole(side)
    if side is None or not 1 <= side <= LONGEST:
        raise place.wrong(key, f"a whole number of pixels from 1 to {LONGEST}")
    return side


def _name(place: Place) -> str:
    key = "file_name" if place.entry.get("file_name") is not None else URL
    name = place.entry.get(key)
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise place.wrong("file_name", "the path of a picture, as text")
    if ".." in name and ".." in name.replace("\\", "/").split("/"):
        raise place.wrong(key, "a path inside the folder of the pictures, without '..'")
    return name


def _called(names: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Whole names, last parts and stems."""
    for position, name in enumerate(names):
        path = PurePosixPath(name.replace("\\", "/"))
        yield from ((each, position) for each in (path.stem, path.name, name))


def _shared(names: Sequence[str]) -> tuple[Finding, ...]:
    """Files that several images are said to be: each of them misses the others' boxes."""
    if len(set(names)) == len(names):
        return ()
    seen: set[str] = set()
    again = np.zeros(len(names), dtype=bool)
    for position, name in enumerate(names):
        again[position] = name in seen
        seen.add(name)
    return found("images that share a file with another", again, names.__getitem__)
