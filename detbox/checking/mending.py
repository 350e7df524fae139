"""A repaired copy of a data set: what rules call errors taken out, what is plain put right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from detbox.annotations.headers import TURNED
from detbox.annotations.packing import CLIP_TOLERANCE
from detbox.annotations.split import PackedStrings, Split
from detbox.annotations.written_names import in_one_space, in_space
from detbox.checking.classes import parent_of
from detbox.checking.duplicates import repeated
from detbox.checking.faults import other_shape, right_suffix, shown_size, truncated, unreadable
from detbox.checking.subject import Part, Subject
from detbox.messages import counted
from detbox.structures import LabelSpace


class Mended(NamedTuple):
    """A split as it will be written."""

    split: Split
    """named as the new files are"""
    sources: tuple[Path, ...]
    """N files"""
    turns: tuple[int, ...]
    """N EXIF orientations that are undone in the pixels; 1: the file stays as it is"""
    told: tuple[str, ...]
    """what was done"""


def mended(subject: Subject) -> dict[str, Mended]:
    """Every split without what is wrong; nothing is read or written.

    Pictures that cannot be read whole, or are of another shape than annotated, are left out; so are
    boxes without an area, outside, or the same as another. Boxes end at the picture's edges and
    follow its real size. Suffixes say what files hold, and no picture is turned by EXIF. A class
    that is a group of the others goes; classes of validation alone become classes of both.
    """
    space = _space(subject)
    return {part.name: _mended(part, space) for part in subject.parts}


def _mended(part: Part, space: LabelSpace) -> Mended:
    split = part.split
    images = ~(unreadable(part) | truncated(part) | other_shape(part))
    kept = np.flatnonzero(images)
    objects = ~(part.without_area | part.outside)
    objects[repeated(part).later] = False
    over = np.abs(part.corners - part.visible).max(1, initial=0) > CLIP_TOLERANCE
    cut = objects & over & ~split.crowd
    sizes = np.array([shown_size(part, at) for at in range(split.num_images)]).reshape(-1, 2)
    sizes = np.where(images[:, None], sizes, split.sizes)
    names = _names(part, kept.tolist())
    turns = tuple(_turn(part, at) for at in kept.tolist())
    whole = in_space(_in_sizes(_clipped(part, cut), sizes), space)
    here = images[part.owners]
    old = [split.names[at] for at in kept.tolist()]
    told = _told(
        ("picture", "left out", ~images),
        ("box", "gone with them", objects & ~here),
        ("box", "left out", ~objects & here),
        ("box", "cut off at the edge", cut & here),
        ("picture", "annotated with the size of its file", (sizes != split.sizes).any(1)),
        ("picture", "renamed", np.array(names) != np.array(old)),
        ("picture", "written without EXIF's turn", np.array(turns) != 1),
        ("class", "taken out", ~np.isin(split.label_space.names, space.names)),
    )
    return Mended(
        whole.of_objects(objects).of_images(kept.tolist())._replace(names=PackedStrings(names)),
        tuple(split.path(at) for at in kept.tolist()),
        turns,
        told,
    )


def _told(*done: tuple[str, str, np.ndarray]) -> tuple[str, ...]:
    """What was done to how many, of (noun, what was done, to which)."""
    numbers = [(int(np.sum(which)), noun, what) for noun, what, which in done]
    return tuple(f"{counted(number, noun)} {what}" for number, noun, what in numbers if number)


def _space(subject: Subject) -> LabelSpace:
    """The classes of all splits, without a group of the others."""
    one = in_one_space({part.name: part.split for part in subject.parts})
    space, parent = next(iter(one.values())).label_space, parent_of(subject)
    pairs = zip(space.names, space.category_ids, strict=True)
    names, numbers = zip(*(pair for pair in pairs if pair[0] != parent), strict=True)
    return LabelSpace(names, numbers)


def _clipped(part: Part, cut: np.ndarray) -> Split:
    """With some boxes, (A,), cut off at the edges of their pictures."""
    low, high = part.visible[:, :2], part.visible[:, 2:]
    inside = np.concatenate((low, high - low), 1)
    areas = np.minimum(part.split.areas, inside[:, 2:].prod(1))
    return part.split._replace(
        boxes=np.where(cut[:, None], inside, part.split.boxes),
        areas=np.where(cut, areas, part.split.areas),
    )


def _in_sizes(split: Split, sizes: np.ndarray) -> Split:
    """With boxes and areas in pixels of other sizes, (N, 2)."""
    scale = (sizes / split.sizes)[split.owners()]
    boxes = split.boxes * scale[:, [1, 0, 1, 0]]
    return split._replace(sizes=sizes, boxes=boxes, areas=split.areas * scale.prod(1))


def _names(part: Part, listed: list[int]) -> list[str]:
    """With the right suffixes, and a number where another picture is called so."""
    suffixes = {at: right_suffix(part, at) for at in listed}
    taken = {part.split.names[at].casefold() for at in listed if suffixes[at] is None}
    names: list[str] = []
    for at in listed:
        name, suffix = part.split.names[at], suffixes[at]
        if suffix is not None:
            path = PurePosixPath(name)
            name = next(each for each in _numbered(path, suffix) if each.casefold() not in taken)
            taken.add(name.casefold())
        names.append(name)
    return names


def _numbered(path: PurePosixPath, suffix: str) -> Iterator[str]:
    yield str(path.with_suffix(suffix))
    number = 1
    while number := number + 1:
        yield str(path.with_name(f"{path.stem}-{number}{suffix}"))


def _turn(part: Part, image: int) -> int:
    """The orientation to undo: none where boxes are of the picture as it is stored."""
    file = part.files[image]
    raw = file.orientation in TURNED and part.split.size(image) == file.size != file.upright
    return 0 if raw else file.orientation
