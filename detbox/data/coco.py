"""COCO annotations, checked once and packed into flat arrays.

A Python object per box would be copied into every worker as soon as its reference count is
touched; a handful of arrays stays shared, so memory is flat over epochs and workers.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from detbox.data.repairs import Repairs
from detbox.errors import DataError, MissingFileError
from detbox.structures import LabelSpace

logger = logging.getLogger("detbox")

CLIP_TOLERANCE = 1e-3
"""pixels; a box that leaves the image by less is rounding of the annotation tool"""


class PackedStrings:
    """Strings as one block of bytes."""

    def __init__(self, strings: Sequence[str]) -> None:
        encoded = [string.encode() for string in strings]
        self._bytes = b"".join(encoded)
        self._ends = np.cumsum([0, *map(len, encoded)])

    def __getitem__(self, index: int) -> str:
        """The string at a position."""
        return self._bytes[self._ends[index] : self._ends[index + 1]].decode()


class CocoSplit(NamedTuple):
    """One annotation file, N images with A boxes, and the folder of its images."""

    folder: Path
    annotation_file: Path
    label_space: LabelSpace
    image_ids: np.ndarray
    """(N,)"""
    sizes: np.ndarray
    """(N, 2) annotated height, width in pixels"""
    names: PackedStrings
    """N file names, relative to the folder"""
    starts: np.ndarray
    """(N + 1,) image i owns boxes starts[i] to starts[i + 1]"""
    labels: np.ndarray
    """(A,) in [0, K)"""
    boxes: np.ndarray
    """(A, 4) cxcywh, share of the annotated size"""

    @property
    def num_images(self) -> int:
        """N."""
        return len(self.image_ids)

    def path(self, index: int) -> Path:
        """Where an image lies."""
        return self.folder / self.names[index]

    def size(self, index: int) -> tuple[int, int]:
        """Annotated height and width."""
        return int(self.sizes[index, 0]), int(self.sizes[index, 1])

    def objects(self, index: int) -> tuple[Tensor, Tensor]:
        """Labels (T,) and boxes (T, 4) of an image."""
        own = slice(self.starts[index], self.starts[index + 1])
        return torch.tensor(self.labels[own]), torch.tensor(self.boxes[own])


def read_split(folder: Path, annotation_file: Path) -> CocoSplit:
    """Read, check and pack one split; what had to be mended is logged in one line.

    Crowd regions, boxes without area, boxes outside the image, and boxes of unknown images or
    categories are dropped; boxes partly outside are clipped; images without boxes are kept.

    Raises:
        FileNotFoundError: the annotation file, the folder, or all of its images are missing.
        ValueError: the file is no COCO annotation file.
    """
    document = _load(annotation_file)
    label_space = _label_space(document["categories"], annotation_file)
    images, annotations = document["images"], document["annotations"]
    ids, sizes = _image_table(images, annotation_file)
    _refuse_duplicates(ids, "image", annotation_file)
    numbered = [annotation["id"] for annotation in annotations if "id" in annotation]
    _refuse_duplicates(np.array(numbered), "annotation", annotation_file)
    names = [image["file_name"] for image in images]
    repairs = Repairs()
    _count_missing_files(folder, names, annotation_file, repairs)
    owners, labels, boxes = _boxes(annotations, ids, sizes, names, label_space, repairs)

    order = np.argsort(owners, kind="stable")
    counts = np.bincount(owners, minlength=len(ids))
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        repairs.note("images without boxes kept", len(empty), names[empty[0]])
    size = f"{len(ids)} images, {len(boxes)} boxes, {len(label_space)} classes"
    repairs.report(f"{annotation_file.name}: {size}")
    starts = np.concatenate(([0], np.cumsum(counts)))
    packed = PackedStrings(names)
    table = (ids, sizes, packed, starts, labels[order], boxes[order].astype(np.float32))
    return CocoSplit(folder, annotation_file, label_space, *table)


def _load(file: Path) -> dict[str, list[dict[str, Any]]]:
    if not file.is_file():
        raise MissingFileError(
            f"expected COCO annotations at {file}, there is no such file; "
            "set data.root, or data.train_annotations and data.val_annotations"
        )
    try:
        document = json.loads(file.read_bytes())
    except ValueError as error:
        raise DataError(f"{file} is no valid JSON ({error}); export or download it again") from None
    for key in ("images", "annotations", "categories"):
        if not isinstance(document, dict) or not isinstance(document.get(key), list):
            raise DataError(
                f"expected a COCO file with the lists images, annotations and categories, "
                f"{file} lacks {key!r}; export it as 'COCO detection'"
            )
    for key in ("images", "annotations", "categories"):
        if not all(isinstance(entry, dict) for entry in document[key]):
            raise DataError(f"{file}: expected {key!r} to hold objects only; mend the file")
        if not document[key] and key != "annotations":
            raise DataError(f"{file}: {key!r} is empty, expected at least one entry; mend the file")
    return document


def _label_space(categories: list[dict[str, Any]], file: Path) -> LabelSpace:
    try:
        return LabelSpace.from_categories(categories)
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{file}: every category needs 'id' and 'name', one has no {error}"
        ) from None
    except ValueError as error:
        raise DataError(f"{file}: {error}") from None


def _image_table(images: list[dict[str, Any]], file: Path) -> tuple[np.ndarray, np.ndarray]:
    for image in images:
        sides = (image.get("height"), image.get("width"))
        sized = all(isinstance(side, int | float) and side >= 1 for side in sides)
        named = isinstance(image.get("file_name"), str)
        if not (sized and named and isinstance(image.get("id"), int)):
            shown = {key: image.get(key) for key in ("id", "height", "width", "file_name")}
            raise DataError(
                f"{file}: every image needs a whole number 'id', 'height' and 'width' in pixels "
                f"and a 'file_name', got {shown}; mend the entry"
            )
    ids = np.array([image["id"] for image in images], dtype=np.int64)
    sizes = np.array([(image["height"], image["width"]) for image in images], dtype=np.int64)
    return ids, sizes


def _refuse_duplicates(ids: np.ndarray, kind: str, file: Path) -> None:
    unique, counts = np.unique(ids, return_counts=True)
    if len(unique) < len(ids):
        repeated = unique[counts > 1]
        raise DataError(
            f"{file}: {kind} ids must be unique, {len(repeated)} are repeated "
            f"(first: {repeated[0]}); renumber them"
        )


def _count_missing_files(folder: Path, names: list[str], file: Path, repairs: Repairs) -> None:
    """One listing per folder: a look-up per file would take minutes on network storage."""
    if not folder.is_dir():
        raise MissingFileError(
            f"expected the images of {file.name} in {folder}, there is no such folder; "
            "set data.root, or data.train_images and data.val_images"
        )
    present: set[str] = set()
    for parent in {os.path.dirname(name) for name in names}:
        if (folder / parent).is_dir():
            present.update(os.path.join(parent, name) for name in os.listdir(folder / parent))
    missing = [name for name in names if os.path.join(*os.path.split(name)) not in present]
    if len(missing) == len(names):
        raise MissingFileError(
            f"none of the {len(names)} images of {file.name} is in {folder} (first: {names[0]}); "
            "set data.train_images or data.val_images to the folder that 'file_name' starts from"
        )
    if missing:
        repairs.mend("image files missing", len(missing), missing[0])


def _boxes(
    annotations: list[dict[str, Any]],
    ids: np.ndarray,
    sizes: np.ndarray,
    names: list[str],
    label_space: LabelSpace,
    repairs: Repairs,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image index (A,), label (A,) and cxcywh share (A, 4) of the boxes worth training on."""
    image_of: dict[Any, int] = {image_id: index for index, image_id in enumerate(ids.tolist())}
    label_of: dict[Any, int] = {
        category: label for label, category in enumerate(label_space.category_ids)
    }
    owner = np.array([image_of.get(a.get("image_id"), -1) for a in annotations], np.int64)
    label = np.array([label_of.get(a.get("category_id"), -1) for a in annotations], np.int64)
    crowd = np.array([bool(a.get("iscrowd")) for a in annotations], bool)
    xywh = np.array([_xywh(a) for a in annotations], dtype=np.float64).reshape(-1, 4)

    width, height = sizes[owner, 1], sizes[owner, 0]
    limit = np.stack((width, height, width, height), 1)
    corners = np.concatenate((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), 1)
    clipped = corners.clip(0, limit)
    extent = clipped[:, 2:] - clipped[:, :2]

    def name(index: int) -> str:
        image = names[owner[index]] if owner[index] >= 0 else "no image"
        return f"annotation {annotations[index].get('id')}, {image}"

    keep = np.ones(len(annotations), dtype=bool)
    for what, wrong, defect in (
        ("boxes of unknown images dropped", owner < 0, True),
        ("boxes of unknown categories dropped", label < 0, True),
        ("crowd regions left out", crowd, False),
        ("annotations without a valid bbox dropped", ~np.isfinite(xywh).all(1), True),
        ("zero-area boxes dropped", ~(xywh[:, 2:] > 0).all(1), True),
        ("boxes outside the image dropped", ~(extent > 0).all(1), True),
    ):
        hit = np.flatnonzero(keep & wrong)
        if len(hit):
            (repairs.mend if defect else repairs.note)(what, len(hit), name(hit[0]))
        keep[hit] = False
    moved = np.flatnonzero(keep & (np.abs(clipped - corners) > CLIP_TOLERANCE).any(1))
    if len(moved):
        repairs.mend("boxes clipped to the image", len(moved), name(moved[0]))
    share = np.concatenate(((clipped[:, :2] + clipped[:, 2:]) / 2, extent), 1) / limit
    return owner[keep], label[keep], share[keep]


def _xywh(annotation: dict[str, Any]) -> Sequence[float]:
    box = annotation.get("bbox")
    if isinstance(box, list) and len(box) == 4 and all(isinstance(v, int | float) for v in box):
        return box
    return (float("nan"),) * 4
