"""What every format has in common: objects are checked, sorted by image and packed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from detbox.annotations.findings import Finding, found
from detbox.annotations.split import PackedStrings, Split, corners
from detbox.errors import DataError, MissingFileError
from detbox.structures import LabelSpace

CLIP_TOLERANCE = 1e-3
"""pixels; a box that leaves the image by less is rounding of the annotation tool"""


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
    """(A,) float64 square pixels; not finite: that of the box"""
    crowd: np.ndarray
    """(A,) bool"""
    ids: np.ndarray
    """(A,) what messages call them; None where the file does not number them"""

    def where(self, positions: np.ndarray) -> Objects:
        """Some of them."""
        return Objects(*(column[positions] for column in self))


def pack(
    source: Path, folder: Path, label_space: LabelSpace, images: Images, objects: Objects
) -> Split:
    """A split of what a reader has listed, with everything that had to be mended.

    Objects of no image, of no class or without a box are dropped; crowd regions and boxes without
    an area inside the image are kept for scoring, but not to learn from. Images without boxes stay.

    Raises:
        ValueError: an image's id, or that of an object that is kept, comes twice.
    """
    _refuse_duplicates(images.ids.tolist(), "image", source)
    objects, dropped = _placed(objects, images)
    _refuse_duplicates([each for each in objects.ids if each is not None], "annotation", source)
    learnt, left_out = _learnt(objects, images)
    counts = np.bincount(objects.owners[learnt], minlength=len(images.ids))
    empty = found("images without boxes kept", counts == 0, images.names.__getitem__, defect=False)
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
        areas=np.where(np.isfinite(kept.areas), kept.areas, kept.boxes[:, 2] * kept.boxes[:, 3]),
        crowd=kept.crowd,
        learnt=learnt[order],
        findings=(*dropped, *left_out, *empty),
    )


def with_files_checked(split: Split, setting: str) -> Split:
    """The split, with the image files counted that are not there.

    One listing per folder: a look-up per file would take minutes on network storage.

    Args:
        split: as read.
        setting: that names the folder, for messages.

    Raises:
        FileNotFoundError: there is no folder, or none of the files.
    """
    folder, name = split.folder, split.source.name
    if not folder.is_dir():
        raise MissingFileError(
            f"expected the images of {name} in {folder}, there is no such folder; set {setting}"
        )
    names = [split.names[index] for index in range(split.num_images)]
    present: set[str] = set()
    for parent in {os.path.dirname(each) for each in names}:
        if (folder / parent).is_dir():
            present.update(os.path.join(parent, each) for each in os.listdir(folder / parent))
    absent = np.array([os.path.join(*os.path.split(each)) not in present for each in names])
    if absent.all():
        raise MissingFileError(
            f"none of the {len(names)} images of {name} is in {folder} (first: {names[0]}); "
            f"set {setting} to the folder that file names start from"
        )
    return with_findings(split, *found("image files missing", absent, split.names.__getitem__))


def with_findings(split: Split, *more: Finding) -> Split:
    """The split with further findings."""
    return split._replace(findings=(*more, *split.findings))


def _refuse_duplicates(ids: list[Any], kind: str, source: Path) -> None:
    if len(set(ids)) == len(ids):
        return
    repeated = [each for each, count in Counter(ids).items() if count > 1]
    raise DataError(
        f"{source}: {kind} ids must be unique, {len(repeated)} are repeated "
        f"(first: {repeated[0]}); renumber them"
    )


def _placed(objects: Objects, images: Images) -> tuple[Objects, tuple[Finding, ...]]:
    """The objects that have an image, a class and a box."""
    kept, findings = _sieve(
        objects,
        images,
        ("boxes of unknown images dropped", objects.owners < 0, True),
        ("boxes of unknown categories dropped", objects.labels < 0, True),
        ("annotations without a valid bbox dropped", ~np.isfinite(objects.boxes).all(1), True),
    )
    return objects.where(kept), findings


def _learnt(objects: Objects, images: Images) -> tuple[np.ndarray, tuple[Finding, ...]]:
    """Which objects are worth training on (A,), and why the others are not."""
    whole = corners(objects.boxes)
    clipped = whole.clip(0, images.sizes[objects.owners][:, [1, 0, 1, 0]])
    learnt, findings = _sieve(
        objects,
        images,
        ("crowd regions left out", objects.crowd, False),
        ("zero-area boxes dropped", ~(objects.boxes[:, 2:] > 0).all(1), True),
        ("boxes outside the image dropped", ~(clipped[:, 2:] > clipped[:, :2]).all(1), True),
    )
    moved = learnt & (np.abs(clipped - whole) > CLIP_TOLERANCE).any(1)
    clips = found("boxes clipped to the image", moved, partial(_name, objects, images))
    return learnt, findings + clips


def _sieve(
    objects: Objects, images: Images, *faults: tuple[str, Any, bool]
) -> tuple[np.ndarray, tuple[Finding, ...]]:
    """What is left (A,), and a finding of every fault; an object counts for its first one."""
    left = np.ones(len(objects.owners), dtype=bool)
    findings: tuple[Finding, ...] = ()
    for what, wrong, defect in faults:
        findings += found(what, left & wrong, partial(_name, objects, images), defect)
        left &= ~wrong
    return left, findings


def _name(objects: Objects, images: Images, position: int) -> str:
    owner = objects.owners[position]
    image = images.names[owner] if owner >= 0 else "no image"
    return f"annotation {objects.ids[position]}, {image}"
