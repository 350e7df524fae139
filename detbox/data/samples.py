"""From an index to a sample: decode, then augment or fit."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from detbox.annotations.split import Split
from detbox.data import transforms
from detbox.data.augmentation import Augmentation
from detbox.data.images import AUTOMATIC, Picture, Reading, UnreadableImageError, decode
from detbox.errors import DataError

REPLACE = 2
"""random stream of what takes the place of unreadable files, beside that of the pictures"""
ATTEMPTS = 100
GREY = 128
REPLACED = "left out of training, grey in evaluation"


class Sample(NamedTuple):
    """One picture ready for a batch."""

    pixels: Tensor
    """(3, H, W) uint8"""
    labels: Tensor
    """(T,)"""
    boxes: Tensor
    """(T, 4) cxcywh, share of the picture"""
    image_id: int
    size: tuple[int, int]
    """annotated height, width"""
    troubles: tuple[tuple[str, str], ...]
    """(what, file)"""


class TrainingSet(Dataset[Sample]):
    """Augmented pictures; each is a pure function of (seed, epoch, index)."""

    def __init__(
        self, split: Split, augmentation: Augmentation, seed: int, reading: Reading = AUTOMATIC
    ) -> None:
        self.split = split
        self.augmentation = augmentation
        self.seed = seed
        self.reading = reading

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """The sample of (epoch, index); an unreadable file is replaced by another image.

        Indices from N on are the N images once more, varied otherwise.

        Raises:
            RuntimeError: many images in a row are unreadable.
        """
        epoch, number = key
        troubles: list[tuple[str, str]] = []
        replacements = np.random.default_rng((self.seed, epoch, number, REPLACE))
        for _ in range(ATTEMPTS):
            index = number % self.split.num_images
            try:
                picture = decode(
                    self.split.path(index),
                    self.split.size(index),
                    self.reading,
                    self.augmentation.least,
                )
            except UnreadableImageError as error:
                troubles.append((f"{error.reason}, {REPLACED}", self.split.names[index]))
                number = int(replacements.integers(self.split.num_images))
                continue
            view = transforms.view(picture.pixels, *self.split.objects(index))
            view = self.augmentation(view, (self.seed, epoch, number), self._another)
            troubles.extend((trouble, self.split.names[index]) for trouble in picture.troubles)
            return _sample(self.split, index, view, troubles)
        raise DataError(_unreadable(self.split, troubles[-1][1]))

    def _another(self, random: np.random.Generator) -> transforms.View:
        """A picture for a step that looks at several; what cannot be read is passed over."""
        for _ in range(ATTEMPTS):
            index = int(random.integers(self.split.num_images))
            with suppress(UnreadableImageError):
                picture = decode(self.split.path(index), self.split.size(index), self.reading)
                return transforms.view(picture.pixels, *self.split.objects(index))
        raise DataError(_unreadable(self.split, self.split.names[index]))


class EvaluationSet(Dataset[Sample]):
    """Pictures as they are; an unreadable file becomes a grey one, so that it still counts."""

    def __init__(
        self, split: Split, display: transforms.Display, reading: Reading = AUTOMATIC
    ) -> None:
        self.split = split
        self.display = display
        self.reading = reading

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """The sample of (epoch, index), the same in every epoch."""
        _, index = key
        annotated = self.split.size(index)
        try:
            picture = decode(self.split.path(index), annotated, self.reading, self.display.size)
        except UnreadableImageError as error:
            # As large as it is shown: a typing error in the annotations could ask for gigabytes.
            size = self.display.size(*annotated)
            grey = torch.full((3, *size), GREY, dtype=torch.uint8)
            picture = Picture(grey, annotated, (f"{error.reason}, {REPLACED}",))
        view = transforms.view(picture.pixels, *self.split.objects(index))
        troubles = [(trouble, self.split.names[index]) for trouble in picture.troubles]
        return _sample(self.split, index, self.display.fit(view, picture.size), troubles)


def _unreadable(split: Split, last: str) -> str:
    return (
        f"{ATTEMPTS} images in a row are unreadable in {split.folder} (last: {last}); restore the "
        "files"
    )


def _sample(
    split: Split, index: int, view: transforms.View, troubles: Sequence[tuple[str, str]]
) -> Sample:
    pixels = view.image.as_subclass(Tensor)
    labels = view.labels.as_subclass(Tensor)
    image_id = int(split.image_ids[index])
    return Sample(pixels, labels, view.shares(), image_id, split.size(index), tuple(troubles))
