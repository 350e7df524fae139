"""From an index to a sample: decode, then augment or fit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from detbox.annotations.split import Split
from detbox.data import transforms
from detbox.data.augmentation import Augmentation
from detbox.data.images import AUTOMATIC, Reading, UnreadableImageError, decode
from detbox.errors import DataError

REPLACE = 2
"""random stream of what takes the place of unreadable files, beside that of the pictures"""
ATTEMPTS = 100
GREY = 128


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

        Raises:
            RuntimeError: many images in a row are unreadable.
        """
        epoch, index = key
        troubles: list[tuple[str, str]] = []
        replacements = np.random.default_rng((self.seed, epoch, index, REPLACE))
        for _ in range(ATTEMPTS):
            try:
                view, own = _read(self.split, index, self.reading)
            except UnreadableImageError as error:
                troubles.append((_reason(error), self.split.names[index]))
                index = int(replacements.integers(self.split.num_images))
                continue
            view = self.augmentation(view, (self.seed, epoch, index))
            return _sample(self.split, index, view, (*troubles, *own))
        raise DataError(
            f"{ATTEMPTS} images in a row are unreadable in {self.split.folder} "
            f"(last: {troubles[-1][1]}); restore the files"
        )


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
        try:
            view, troubles = _read(self.split, index, self.reading)
        except UnreadableImageError as error:
            grey = torch.full((3, *self.split.size(index)), GREY, dtype=torch.uint8)
            view = transforms.view(grey, *self.split.objects(index))
            troubles = ((_reason(error), self.split.names[index]),)
        return _sample(self.split, index, self.display.fit(view), troubles)


def _read(
    split: Split, index: int, reading: Reading
) -> tuple[transforms.View, tuple[tuple[str, str], ...]]:
    picture = decode(split.path(index), split.size(index), reading)
    view = transforms.view(picture.pixels, *split.objects(index))
    return view, tuple((trouble, split.names[index]) for trouble in picture.troubles)


def _reason(error: UnreadableImageError) -> str:
    missing = isinstance(error.__cause__, FileNotFoundError)
    return f"{'missing' if missing else 'undecodable'}, left out of training, grey in evaluation"


def _sample(
    split: Split, index: int, view: transforms.View, troubles: tuple[tuple[str, str], ...]
) -> Sample:
    pixels = view.image.as_subclass(Tensor)
    labels = view.labels.as_subclass(Tensor)
    image_id = int(split.image_ids[index])
    return Sample(pixels, labels, view.shares(), image_id, split.size(index), troubles)
