"""What a format says of one picture, and a split of many: all that a reader has to give."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from detbox.annotations.findings import Finding, found
from detbox.annotations.headers import Size, header_sizes
from detbox.annotations.packing import Images, Objects, Unknown, pack, with_findings
from detbox.annotations.split import Split
from detbox.errors import DataError
from detbox.structures import LabelSpace

NO_BOXES = np.zeros((0, 4))


class Labelled(NamedTuple):
    """A picture with T objects."""

    name: str
    """relative to the folder of the pictures"""
    classes: Sequence[str] = ()
    """T names"""
    boxes: np.ndarray = NO_BOXES
    """(T, 4) float64 left, top, width, height in pixels; not finite where it cannot be read"""
    size: Size | None = None
    """None: as the file's header says"""
    shares: bool = False
    """boxes are middle and extent as shares of the picture instead"""
    crowd: Sequence[bool] = ()
    """T regions that scoring ignores and training leaves out; empty: none is"""
    outlined: Sequence[bool] = ()
    """T that are drawn as polygons or masks; empty: none is"""


def split_of_pictures(
    source: Path,
    folder: Path,
    listed: Sequence[Labelled],
    space: LabelSpace | None = None,
    findings: Sequence[Finding] = (),
) -> Split:
    """A split, in the order of the list; images are numbered from 1 on.

    Args:
        source: to be named in messages.
        folder: of the pictures.
        listed: what a reader has found.
        space: the classes; None: all names that occur, sorted, as the format has no order.
        findings: of the reader.

    Raises:
        DataError: there are no pictures, or `pack` refuses them.
    """
    measured = _measured(folder, listed)
    unread = found(
        "images left out, of which no picture can be read",
        np.array([each is None for each in measured], dtype=bool),
        lambda position: listed[position].name,
        mend="restore the files",
    )
    pictures = [each for each in measured if each is not None]
    if not pictures:
        first = f" (first: {listed[0].name})" if listed else ""
        raise DataError(
            f"{source}: expected pictures, none of {len(listed)} can be read{first}; "
            "restore the files"
        )
    space = space or sorted_classes(pictures)
    images = Images(
        np.arange(1, len(pictures) + 1),
        np.array([each.size for each in pictures], dtype=np.int64),
        [each.name for each in pictures],
    )
    split = pack(source, folder, space, images, *_objects(pictures, images, space))
    return with_findings(split, *findings, *unread)


def sorted_classes(listed: Sequence[Labelled]) -> LabelSpace:
    """The names that occur, in alphabetical order, with ids from 1 on."""
    return sorted_space({name for each in listed for name in each.classes})


def sorted_space(names: Collection[str]) -> LabelSpace:
    """Names in alphabetical order, with ids from 1 on."""
    return LabelSpace(tuple(sorted(names)), tuple(range(1, len(names) + 1)))


def _measured(folder: Path, listed: Sequence[Labelled]) -> list[Labelled | None]:
    """With sizes; None where there is none."""
    unknown = [each.name for each in listed if each.size is None]
    sizes = dict(zip(unknown, header_sizes(folder, unknown), strict=True))
    known = ((each, each.size or sizes[each.name]) for each in listed)
    return [each._replace(size=size) if size else None for each, size in known]


def _in_pixels(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Middles and extents as shares of pictures (A, 2) to left, top, width, height (A, 4)."""
    corner = boxes[:, :2] - boxes[:, 2:] / 2
    pixels: np.ndarray = np.concatenate((corner, boxes[:, 2:]), 1) * sizes[:, [1, 0, 1, 0]]
    return pixels


def _objects(
    listed: Sequence[Labelled], images: Images, space: LabelSpace
) -> tuple[Objects, Unknown]:
    counts = [len(each.classes) for each in listed]
    label_of = {name: label for label, name in enumerate(space.names)}
    names = [name for each in listed for name in each.classes]
    boxes = np.concatenate([each.boxes.reshape(-1, 4) for each in listed])
    owners = np.repeat(np.arange(len(listed)), counts)
    shares = np.array([each.shares for each in listed])[owners]
    boxes[shares] = _in_pixels(boxes[shares], images.sizes[owners[shares]])
    objects = Objects(
        owners=owners,
        labels=np.array([label_of.get(name, -1) for name in names], dtype=np.int64),
        boxes=boxes,
        areas=np.full(len(names), -1.0),
        crowd=_flags([each.crowd for each in listed], counts),
        ids=np.arange(1, len(names) + 1, dtype=object),
        outlined=_flags([each.outlined for each in listed], counts),
    )
    unknown = sorted(set(names) - set(space.names))
    told = f"{', '.join(unknown[:5])}, known are {', '.join(space.names[:9])}" if unknown else ""
    return objects, Unknown(classes=told)


def _flags(given: Sequence[Sequence[bool]], counts: Sequence[int]) -> np.ndarray:
    """(A,) bool; False for the objects of pictures that have none of them."""
    pairs = zip(given, counts, strict=True)
    return np.array([flag for own, count in pairs for flag in own or [False] * count], dtype=bool)
