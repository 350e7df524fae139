"""What every format has in common: objects are checked, sorted by image and packed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from detbox.annotations.findings import BARE, CROWDS, CUT, HIDDEN, WITHOUT_AREA, Finding, found
from detbox.annotations.ids import fit_int64
from detbox.annotations.split import PackedStrings, Split, corners
from detbox.errors import DataError
from detbox.structures import LabelSpace

CLIP_TOLERANCE = 1e-3
"""pixels; a box that leaves the image by less is rounding of the annotation tool"""
FEW = 4
"""boxes up to which nothing is read into what they have in common"""
MANY = 0.1
"""share of the annotations; where as many are left out, a finding of its own says so"""


NO_BOX = "give each a 'bbox' of [left, top, width, height] in pixels"
NO_AREA = "give width and height, not the second corner or nothing"
OUTSIDE = "are boxes [left, top, width, height] in pixels of the sizes that 'images' says?"
CROWD = "set 'iscrowd' to 0 where an annotation is one object, not a region of many"


class Images(NamedTuple):
    """N images, as a reader lists them."""

    ids: np.ndarray
    """(N,) int64"""
    sizes: np.ndarray
    """(N, 2) int64 height, width in pixels"""
    names: Sequence[str]
    """N file names, relative to the folder"""


class Objects(NamedTuple):
    """A objects, as a reader lists them, in any order."""

    owners: np.ndarray
    """(A,) position of the image; -1: one that is not listed"""
    labels: np.ndarray
    """(A,) -1: a class that is not listed"""
    boxes: np.ndarray
    """(A, 4) float64 left, top, width, height in pixels; not finite where there is no box"""
    areas: np.ndarray
    """(A,) float64 square pixels; negative or not finite: that of the box"""
    crowd: np.ndarray
    """(A,) bool"""
    ids: np.ndarray
    """(A,) of any type, what messages call them; None where the file does not number them"""
    outlined: np.ndarray
    """(A,) bool: drawn as a polygon or a mask"""

    def where(self, positions: np.ndarray) -> Objects:
        """Those at some positions, or where a mask is True."""
        if positions.dtype == bool and positions.all():
            return self
        return Objects(*(column[positions] for column in self))


class Unknown(NamedTuple):
    """What objects refer to in vain, and what there is; empty: all is known."""

    images: str = ""
    classes: str = ""


class Fault(NamedTuple):
    """Why objects are left out."""

    what: str
    wrong: Any
    """(A,) bool array"""
    defect: bool
    mend: str


def pack(
    source: Path,
    folder: Path,
    label_space: LabelSpace,
    images: Images,
    objects: Objects,
    unknown: Unknown,
) -> Split:
    """A split of what a reader has listed, with everything that had to be mended.

    Objects of no image, of no class or without a box are dropped; crowd regions and boxes without
    an area inside the image are kept for scoring, but not to learn from. Images without boxes stay.

    Raises:
        DataError: there are objects, and none of them is left to learn from; or their boxes are
            shares of the image or two corners.
    """
    total = len(objects.owners)
    objects, dropped = _placed(objects, images, unknown)
    learnt, left_out = _learnt(objects, images)
    _check_meaning(source, objects.boxes[learnt], images.sizes[objects.owners[learnt]])
    lost = _lost(source, total, int(learnt.sum()), dropped + left_out)
    counts = np.bincount(objects.owners[learnt], minlength=len(images.ids))
    empty = found(BARE, counts == 0, images.names.__getitem__, defect=False)
    order = np.argsort(objects.owners, kind="stable")
    kept = objects.where(order)
    return Split(
        source=source,
        folder=folder,
        label_space=label_space,
        image_ids=images.ids,
        sizes=images.sizes,
        names=PackedStrings(images.names),
        starts=np.searchsorted(kept.owners, np.arange(len(images.ids) + 1)),
        labels=kept.labels.astype(np.int32),
        boxes=kept.boxes,
        areas=np.where(kept.areas >= 0, kept.areas, kept.boxes[:, 2] * kept.boxes[:, 3]),
        crowd=kept.crowd,
        learnt=learnt[order],
        object_ids=_numbers(objects.ids)[order],
        outlined=kept.outlined,
        findings=(*lost, *dropped, *left_out, *_clipped(objects, images, learnt), *empty),
    )


def with_findings(split: Split, *more: Finding) -> Split:
    """The split with further findings."""
    return split._replace(findings=(*more, *split.findings))


def _numbers(ids: np.ndarray) -> np.ndarray:
    """Ids as int64, (A,); from 1 on where not all are whole numbers of 64 bits."""
    listed = ids.tolist()
    return np.array(listed if fit_int64(listed) else range(1, len(listed) + 1), dtype=np.int64)


def _lost(
    source: Path, total: int, learnt: int, causes: tuple[Finding, ...]
) -> tuple[Finding, ...]:
    """A finding where many objects are left out.

    Raises:
        DataError: where all are.
    """
    if total - learnt < MANY * total or not total:
        return ()
    main = max(causes, key=lambda each: each.number)
    if not learnt:
        raise DataError(
            f"{source}: none of the {total} annotations is left to learn from: "
            f"{', '.join(each.counted for each in causes)} "
            f"(first: {main.example}); {main.mend}"
        )
    what = f"of {total} annotations are left out"
    mend = main.counted + (f"; {main.mend}" if main.mend else "")
    return (Finding(what, total - learnt, main.example, mend=mend),)


def _placed(
    objects: Objects, images: Images, unknown: Unknown
) -> tuple[Objects, tuple[Finding, ...]]:
    """The objects that have an image, a class and a box, each once."""
    no_box = ~np.isfinite(objects.boxes).all(1)
    kept, findings = _sieve(
        objects,
        images,
        Fault("boxes of unknown images dropped", objects.owners < 0, True, unknown.images),
        Fault("boxes of unknown categories dropped", objects.labels < 0, True, unknown.classes),
        Fault("annotations without a valid bbox dropped", no_box, True, NO_BOX),
        Fault("repeated annotations dropped", _repeated(objects), True, "export the file again"),
    )
    return objects.where(kept), findings


def _learnt(objects: Objects, images: Images) -> tuple[np.ndarray, tuple[Finding, ...]]:
    """Which objects are worth training on (A,), and why the others are not."""
    whole = corners(objects.boxes)
    clipped = whole.clip(0, images.sizes[objects.owners][:, [1, 0, 1, 0]])
    empty = (objects.boxes[:, 2:] <= 0).any(1)
    outside = (clipped[:, 2:] <= clipped[:, :2]).any(1)
    return _sieve(
        objects,
        images,
        Fault(CROWDS, objects.crowd, False, CROWD),
        Fault(WITHOUT_AREA, empty, True, NO_AREA),
        Fault(HIDDEN, outside, True, OUTSIDE),
    )


def _clipped(objects: Objects, images: Images, learnt: np.ndarray) -> tuple[Finding, ...]:
    whole = corners(objects.boxes)
    limit = images.sizes[objects.owners][:, [1, 0, 1, 0]]
    beyond = ((whole < -CLIP_TOLERANCE) | (whole > limit + CLIP_TOLERANCE)).any(1)
    name = partial(_name, objects, images)
    return found(CUT, learnt & beyond, name)


def _check_meaning(source: Path, boxes: np.ndarray, sizes: np.ndarray) -> None:
    """Refuse boxes that mean something else: a detector would learn them without a word."""
    limit = sizes[:, [1, 0, 1, 0]]
    if len(boxes) < FEW or not (limit > 1).all():
        return
    if boxes.max() <= 1:
        raise DataError(
            f"{source}: all {len(boxes)} boxes lie within one pixel, as shares of the image do; "
            "'bbox' is [left, top, width, height] in pixels: multiply by its width and height"
        )
    beyond = (corners(boxes) > limit + CLIP_TOLERANCE).any(1)
    are_corners = (boxes[:, 2:] > boxes[:, :2]).all() and (boxes <= limit + CLIP_TOLERANCE).all()
    if beyond.mean() > 0.5 and are_corners:
        raise DataError(
            f"{source}: {int(beyond.sum())} of {len(boxes)} boxes leave their images, and none "
            "would if they were [left, top, right, bottom]; 'bbox' is [left, top, width, height]: "
            "subtract the first corner from the second"
        )


def _repeated(objects: Objects) -> np.ndarray:
    """What is listed once more: the same id, image, class and box; (A,) bool."""
    again = np.zeros(len(objects.owners), dtype=bool)
    numbered = [each for each in objects.ids if each is not None]
    if len(set(numbered)) == len(numbered):
        return again
    seen: set[tuple[Any, ...]] = set()
    columns = (objects.ids, objects.owners, objects.labels, objects.boxes)
    for position, row in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        whole = (*row[:3], *row[3])
        again[position] = row[0] is not None and whole in seen
        seen.add(whole)
    return again


def _sieve(
    objects: Objects, images: Images, *faults: Fault
) -> tuple[np.ndarray, tuple[Finding, ...]]:
    """What is left (A,), and a finding of every fault; an object counts for its first one."""
    left = np.ones(len(objects.owners), dtype=bool)
    findings: tuple[Finding, ...] = ()
    for what, wrong, defect, mend in faults:
        name = partial(_name, objects, images)
        findings += found(what, left & wrong, name, defect, mend)
        left &= ~wrong
    return left, findings


def _name(objects: Objects, images: Images, position: int) -> str:
    owner = objects.owners[position]
    image = images.names[owner] if owner >= 0 else "no image"
    return f"annotation {objects.ids[position]}, {image}"
