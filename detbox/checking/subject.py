"""What rules look at: the splits of a data set, their files, and how a training would show them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from detbox.annotations.split import Split, corners
from detbox.checking.files import File
from detbox.data.transforms import Display
from detbox.messages import printable


class Part:
    """One split with its files; columns of its objects are computed once.

    Args:
        name: `train` or `val`; empty: the data set is not divided.
        split: as it was read.
        files: N, what the headers of the pictures say.
        troubles: image -> what decoding it met, of those that were decoded.
        own: (N,) bool: not in a split before; None: all of them.
    """

    def __init__(
        self,
        name: str,
        split: Split,
        files: Sequence[File],
        troubles: dict[int, tuple[str, ...]] | None = None,
        own: np.ndarray | None = None,
    ) -> None:
        self.name = name
        self.split = split
        self.files = files
        self.troubles = troubles or {}
        self.own = np.ones(split.num_images, dtype=bool) if own is None else own

    def called(self, image: int) -> str:
        """`train's 0001.jpg`."""
        name = printable(self.split.names[image])
        return f"{self.name}'s {name}" if self.name else name

    @cached_property
    def owners(self) -> np.ndarray:
        """(A,) position of every object's image."""
        return self.split.owners()

    @cached_property
    def corners(self) -> np.ndarray:
        """(A, 4) left, top, right, bottom in pixels, as the file has them."""
        return corners(self.split.boxes)

    @cached_property
    def limits(self) -> np.ndarray:
        """(A, 4) width, height, width, height of every object's image."""
        limits: np.ndarray = self.split.sizes[self.owners][:, [1, 0, 1, 0]]
        return limits

    @cached_property
    def visible(self) -> np.ndarray:
        """(A, 4) corners inside of the image."""
        return self.corners.clip(0, self.limits)

    @cached_property
    def without_area(self) -> np.ndarray:
        """(A,) bool: width or height is nothing; crowds are not asked."""
        hit: np.ndarray = np.asarray((self.split.boxes[:, 2:] <= 0).any(1)) & ~self.split.crowd
        return hit

    @cached_property
    def outside(self) -> np.ndarray:
        """(A,) bool: nothing of it is in the picture, though it has an area."""
        hidden = np.asarray((self.visible[:, 2:] <= self.visible[:, :2]).any(1))
        hit: np.ndarray = hidden & ~self.without_area & ~self.split.crowd
        return hit

    @cached_property
    def counts(self) -> np.ndarray:
        """(N,) objects to learn of every image."""
        return np.bincount(self.owners[self.split.learnt], minlength=self.split.num_images)

    @cached_property
    def boxes_of_class(self) -> np.ndarray:
        """(K,) objects to learn."""
        labels = self.split.labels[self.split.learnt]
        return np.bincount(labels, minlength=len(self.split.label_space))

    @property
    def boxes_of_name(self) -> dict[str, int]:
        """The same by the name of the class."""
        names = self.split.label_space.names
        return dict(zip(names, self.boxes_of_class.tolist(), strict=True))

    @cached_property
    def images_of_class(self) -> np.ndarray:
        """(K,) images with objects of it to learn."""
        learnt, classes = self.split.learnt, len(self.split.label_space)
        pairs = np.unique(self.owners[learnt] * classes + self.split.labels[learnt])
        return np.bincount(pairs % classes, minlength=classes)


Picture = tuple[Part, int]
"""a split, and a position in it"""


class Subject(NamedTuple):
    """A data set, and what a training on it would be like."""

    parts: tuple[Part, ...]
    """one or two; a data set that is not divided is one"""
    display: Display
    """how large pictures are shown"""
    queries: int | None
    """of the model; None: no model is chosen"""
    alike: Sequence[Sequence[Picture]] = ()
    """groups of two or more pictures that show the same, over all splits"""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes that any split lists, in order."""
        listed = [name for part in self.parts for name in part.split.label_space.names]
        return tuple(dict.fromkeys(listed))

    @property
    def boxes_of_name(self) -> dict[str, int]:
        """Objects to learn in all splits, by the name of the class."""
        counts = [part.boxes_of_name for part in self.parts]
        return {name: sum(each.get(name, 0) for each in counts) for name in self.names}
