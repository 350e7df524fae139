"""The one type of annotations: what a file says of its images, for training, scoring and checks.

A Python object per box would be copied into every worker as soon as its reference count is
touched; a handful of arrays stays shared, so memory is flat over epochs and workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from detbox.annotations.findings import Finding
from detbox.messages import counted
from detbox.structures import LabelSpace

OF_OBJECTS = ("labels", "boxes", "areas", "crowd", "learnt", "object_ids", "outlined")
"""fields of a split that have a row for every object"""


class PackedStrings:
    """Strings as one block of bytes."""

    def __init__(self, strings: Sequence[str]) -> None:
        encoded = [string.encode("utf-8", "surrogatepass") for string in strings]
        self.content = b"".join(encoded)
        self.ends = np.cumsum([0, *map(len, encoded)])

    @classmethod
    def of(cls, content: bytes, ends: np.ndarray) -> PackedStrings:
        """Of what another one holds."""
        packed = cls(())
        packed.content, packed.ends = content, ends
        return packed

    def __getitem__(self, index: int) -> str:
        """The string at a position."""
        return self.content[self.ends[index] : self.ends[index + 1]].decode(
            "utf-8", "surrogatepass"
        )


class Split(NamedTuple):
    """N images with A annotated objects of K classes, as a reader of a format gives them.

    Objects are kept as the file has them, so that scoring sees what the file says; `objects` gives
    what is left to learn from.
    """

    source: Path
    """what was read, to be named in messages"""
    folder: Path
    """of the images"""
    label_space: LabelSpace
    image_ids: np.ndarray
    """(N,) int64"""
    sizes: np.ndarray
    """(N, 2) annotated height, width in pixels"""
    names: PackedStrings
    """N file names, relative to the folder"""
    starts: np.ndarray
    """(N + 1,) image i owns objects starts[i] to starts[i + 1]"""
    labels: np.ndarray
    """(A,) int32 in [0, K)"""
    boxes: np.ndarray
    """(A, 4) float64: left, top, width, height in pixels, neither clipped nor mended"""
    areas: np.ndarray
    """(A,) float64 square pixels, of the mask where the file has one"""
    crowd: np.ndarray
    """(A,) bool: a region of many objects, which scoring ignores"""
    learnt: np.ndarray
    """(A,) bool: worth training on; crowds and boxes without a visible area are not"""
    object_ids: np.ndarray
    """(A,) int64: as the file numbers its objects, else from 1 on in its order"""
    outlined: np.ndarray
    """(A,) bool: drawn as a polygon, of which the box is kept; COCO's are not read"""
    findings: tuple[Finding, ...]
    """what reading has mended or left out"""
    found_as: str = ""
    """format and sizes, where the format was found by looking; empty: it was named"""

    def in_classes(self, space: LabelSpace, labels: Mapping[int, int]) -> Split:
        """The same objects in another space of classes.

        Args:
            space: the other one.
            labels: of ours, all of them -> of the other.
        """
        table = np.array([labels[own] for own in range(len(self.label_space))], dtype=np.int32)
        return self._replace(label_space=space, labels=table[self.labels])

    def of_images(self, images: Sequence[int]) -> Split:
        """The images at some positions, in that order; one may come several times."""
        chosen = np.asarray(images, dtype=np.int64)
        spans = [np.arange(self.starts[each], self.starts[each + 1]) for each in chosen]
        own = np.concatenate([np.zeros(0, np.int64), *spans])
        return self._with_objects(own, list(map(len, spans)))._replace(
            image_ids=self.image_ids[chosen],
            sizes=self.sizes[chosen],
            names=PackedStrings([self.names[each] for each in chosen.tolist()]),
        )

    def of_objects(self, kept: np.ndarray) -> Split:
        """The same images with some of the objects, (A,) bool."""
        counts = np.bincount(self.owners()[kept], minlength=self.num_images)
        return self._with_objects(np.flatnonzero(kept), counts.tolist())

    def _with_objects(self, own: np.ndarray, counts: list[int]) -> Split:
        """Objects at some positions in the order of their images, of which each has so many."""
        columns = {key: getattr(self, key)[own] for key in OF_OBJECTS}
        return self._replace(starts=np.cumsum([0, *counts]), **columns)

    @property
    def num_images(self) -> int:
        """N."""
        return len(self.image_ids)

    @property
    def num_boxes(self) -> int:
        """Boxes to learn from."""
        return int(self.learnt.sum())

    def fullest(self, limit: int) -> tuple[int, int]:
        """How many images have more objects to learn than a limit, and the most of an image."""
        counts = np.bincount(self.owners()[self.learnt], minlength=1)
        return int((counts > limit).sum()), int(counts.max())

    def owners(self) -> np.ndarray:
        """(A,) position of every object's image."""
        return np.repeat(np.arange(self.num_images), np.diff(self.starts))

    def summary(self) -> str:
        """One line: how much there is, and every finding."""
        kind = f" ({self.found_as})" if self.found_as else ""
        told = f"{self.source.name}{kind}: {self.contents()}"
        return "; ".join((told, *map(str, self.findings)))

    def contents(self) -> str:
        """`3 images, 4 boxes, 3 classes`."""
        counts = {"image": self.num_images, "box": self.num_boxes, "class": len(self.label_space)}
        return ", ".join(counted(number, noun) for noun, number in counts.items())

    def paths(self, count: int) -> list[Path]:
        """Where the first images lie."""
        return [self.path(index) for index in range(min(count, self.num_images))]

    def path(self, index: int) -> Path:
        """Where an image lies."""
        return self.folder / self.names[index]

    def size(self, index: int) -> tuple[int, int]:
        """Annotated height and width."""
        return int(self.sizes[index, 0]), int(self.sizes[index, 1])

    def objects(self, index: int) -> tuple[Tensor, Tensor]:
        """What to learn of an image: labels (T,), boxes (T, 4) as cxcywh share, clipped to it."""
        own = slice(self.starts[index], self.starts[index + 1])
        learnt = self.learnt[own]
        limit = self.sizes[index, [1, 0, 1, 0]]
        clipped = corners(self.boxes[own][learnt]).clip(0, limit)
        middle, extent = (clipped[:, :2] + clipped[:, 2:]) / 2, clipped[:, 2:] - clipped[:, :2]
        shares = np.concatenate((middle, extent), 1) / limit
        labels = self.labels[own][learnt].astype(np.int64)
        return torch.from_numpy(labels), torch.from_numpy(shares.astype(np.float32))


def corners(boxes: np.ndarray) -> np.ndarray:
    """Left, top, width, height to left, top, right, bottom; (A, 4)."""
    return np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), 1)
