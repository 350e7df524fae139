"""Two splits and their loaders, as Lightning wants them."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import lightning.pytorch as pl
import numpy as np

from detbox.data.coco import CocoSplit, read_split
from detbox.data.dataset import EvaluationSet, TrainingSet
from detbox.data.layout import LAYOUTS, Source
from detbox.data.loading import Loader
from detbox.data.sampling import EpochBatches, evaluation_batches, training_batches
from detbox.data.transforms import Recipe
from detbox.errors import DataError
from detbox.structures import LabelSpace


class Loading(NamedTuple):
    """How batches are made."""

    seed: int
    batch_size: int
    """images per rank and training step"""
    eval_batch_size: int
    """images per rank and evaluation step"""
    workers: int
    """decoding processes per rank, at most one per core"""


class DataModule(pl.LightningDataModule):
    """A training and a validation split, each read when it is first asked for.

    Args:
        train: where the training split lies; None: there is none.
        val: where the validation split lies; None: there is none.
        recipe: how pictures are resized and augmented.
        loading: how batches are made.
        embedded: True for the data set that the package draws itself.

    Raises:
        ValueError: a batch size is not positive.
    """

    allow_zero_length_dataloader_with_multiple_devices = True

    def __init__(
        self,
        train: Source | None,
        val: Source | None,
        recipe: Recipe,
        loading: Loading,
        embedded: bool = False,
    ) -> None:
        super().__init__()
        if min(loading.batch_size, loading.eval_batch_size) < 1 or loading.workers < 0:
            raise DataError(f"expected positive batch sizes and workers >= 0, got {loading}")
        self.sources = {"train": train, "val": val}
        self.recipe = recipe
        self.loading = loading
        self.embedded = embedded

    @cached_property
    def train(self) -> CocoSplit:
        """The training split."""
        return read_split(*self._source("train"))

    @cached_property
    def val(self) -> CocoSplit:
        """The validation split; its label space suffices to evaluate."""
        return read_split(*self._source("val"))

    @cached_property
    def label_space(self) -> LabelSpace:
        """The classes of the training split; of the validation split where there is no other.

        Raises:
            ValueError: the splits have different categories.
        """
        source = self.sources["train"]
        if source is None or not (source.images.is_dir() and source.annotations.is_file()):
            return self.val.label_space
        if self.sources["val"] is not None:
            _require_equal(self.train, self.val)
        return self.train.label_space

    @property
    def annotation_file(self) -> Path:
        """The ground truth of the validation split."""
        return self._source("val").annotations

    def train_dataloader(self) -> Loader:
        """Shuffled, augmented batches."""
        if self.sources["val"] is not None:
            _require_equal(self.train, self.val)
        seed, batch_size, _, workers = self.loading
        rank, world_size = self._place()
        length = self.train.num_images

        def plan(epoch: int) -> list[np.ndarray]:
            return training_batches(length, batch_size, seed, epoch, rank, world_size)

        dataset = TrainingSet(self.train, self.recipe, seed)
        return Loader(dataset, EpochBatches(plan), workers, "train")

    def val_dataloader(self) -> Loader:
        """Every image once over all ranks, in the order of the file."""
        rank, world_size = self._place()
        size = self.loading.eval_batch_size
        batches = evaluation_batches(self.val.num_images, size, rank, world_size)
        dataset = EvaluationSet(self.val, self.recipe)
        return Loader(dataset, EpochBatches(lambda _: batches), self.loading.workers, "val")

    def _place(self) -> tuple[int, int]:
        """Rank and world size."""
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _source(self, split: str) -> Source:
        source = self.sources[split]
        if source is None:
            raise DataError(
                f"expected a {split} split, found none; set data.{split}_images and "
                f"data.{split}_annotations, or a data.root with {LAYOUTS}"
            )
        return source


def _require_equal(train: CocoSplit, val: CocoSplit) -> None:
    ours, theirs = (
        set(zip(split.label_space.category_ids, split.label_space.names, strict=True))
        for split in (train, val)
    )
    if ours != theirs:
        raise DataError(
            "training and validation need the same categories, by id and name; only in "
            f"{train.annotation_file.name}: {sorted(ours - theirs)}, only in "
            f"{val.annotation_file.name}: {sorted(theirs - ours)}; make 'categories' agree"
        )
