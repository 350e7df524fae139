"""Two splits and their loaders, as Lightning wants them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor

from detbox.annotations.split import Split
from detbox.data.dataset import DataSet
from detbox.data.loading import Loader
from detbox.data.repeats import Repeats
from detbox.data.samples import EvaluationSet, TrainingSet
from detbox.data.sampling import (
    EpochBatches,
    evaluation_batches,
    training_batches,
    training_steps,
)
from detbox.data.sharing import StepBatch, share
from detbox.errors import DataError, SettingError
from detbox.messages import counted, some
from detbox.structures import LabelSpace

logger = logging.getLogger("detbox")


class DataModule(pl.LightningDataModule):
    """A data set on its way into a run; a split is read once, when it is first asked for.

    Args:
        dataset: what a registered builder gives.
        seed: of order and augmentation.
    """

    allow_zero_length_dataloader_with_multiple_devices = True

    def __init__(self, dataset: DataSet, seed: int) -> None:
        super().__init__()
        self.dataset = dataset
        self.seed = seed
        self._accumulated = 1

    @cached_property
    def training_split(self) -> Split | None:
        """As it is read, before anything depends on how its pictures are shown."""
        return _told(self.dataset.read("train"))

    @cached_property
    def train(self) -> Split:
        """The training split; its augmentation is tried first."""
        return self._training.split

    @cached_property
    def val(self) -> Split:
        """The validation split; evaluation needs no other."""
        return _present("val", self._validation, self.dataset.advice)

    @cached_property
    def label_space(self) -> LabelSpace:
        """The classes to learn, those of the training split, into which the other one is brought.

        Of the validation split where there is no other.

        Raises:
            ValueError: a split has no boxes, or validation has a class that training lacks.
        """
        if self.training_split is None:
            return self.val.label_space
        _require_boxes(self.train)
        if self._validation is not None:
            _require_boxes(self._validation)
            self.val = _in_classes(self._validation, self.train)
        return self.train.label_space

    @cached_property
    def repeats(self) -> Repeats | None:
        """How often training pictures come in an epoch; None: each once."""
        threshold = self.dataset.loading.repeat_threshold
        if not threshold or self.training_split is None:
            return None
        return Repeats.of(self.training_split, threshold)

    @property
    def epoch_pictures(self) -> int:
        """Pictures of an epoch of training, before they make whole batches."""
        split = _present("train", self.training_split, self.dataset.advice)
        return split.num_images if self.repeats is None else self.repeats.length

    @property
    def train_batches(self) -> int:
        """Batches of one rank in an epoch of training."""
        _, world_size = self._place()
        return training_steps(self.epoch_pictures, self.dataset.loading.batch_size, world_size)

    def share(self, processes: int, accumulated: int) -> StepBatch:
        """Settle how many pictures a process takes at once, before the first loader is made.

        Args:
            processes: that train together.
            accumulated: batches per optimizer step.

        Raises:
            SettingError: `data.total_batch` cannot be shared by them, or a batch is larger than
                the training split.
        """
        step = share(self.dataset.loading, processes, accumulated)
        if step.pictures > self.epoch_pictures:
            raise SettingError(
                f"a batch of {step.pictures} pictures is more than the {self.epoch_pictures} of "
                f"{self.train.source.name}; try data.batch_size={self.epoch_pictures}"
                + (" data.total_batch=null" if self.dataset.loading.total_batch else "")
            )
        loading = self.dataset.loading._replace(batch_size=step.pictures)
        self.dataset = replace(self.dataset, loading=loading)
        self._accumulated = accumulated
        return step

    def train_dataloader(self) -> Loader:
        """Shuffled, augmented batches."""
        _ = self.label_space  # the splits fit together
        loading = self.dataset.loading
        rank, world_size = self._place()
        length, repeats = self.epoch_pictures, self.repeats

        def plan(epoch: int) -> list[np.ndarray]:
            places = (loading.batch_size, self.seed, epoch, rank, world_size)
            batches = training_batches(length, *places)
            if repeats is None:
                return batches
            drawn = repeats.drawn(self.seed, epoch)
            return [drawn[batch] for batch in batches]

        return Loader(
            self._training, EpochBatches(plan), loading.workers, "train", self._accumulated
        )

    def val_dataloader(self) -> Loader:
        """Every image once over all ranks, in the order of the file."""
        rank, world_size = self._place()
        loading = self.dataset.loading
        batches = evaluation_batches(self.val.num_images, loading.eval_batch_size, rank, world_size)
        own = math.ceil(len(range(rank, self.val.num_images, world_size)) / loading.eval_batch_size)
        sampler = EpochBatches(lambda _: batches)
        return Loader(self._evaluation, sampler, loading.workers, "val", counted=own)

    def pictures(self, indices: Sequence[int]) -> Iterator[Tensor]:
        """Validation pictures as evaluation shows them, (3, h, w) uint8, read one by one."""
        return (self._evaluation[0, index].pixels for index in indices)

    @property
    def _evaluation(self) -> EvaluationSet:
        return EvaluationSet(self.val, self.dataset.display, self.dataset.reading)

    @cached_property
    def _training(self) -> TrainingSet:
        augmentation = self.dataset.augmentation()
        split = _present("train", self.training_split, self.dataset.advice)
        return TrainingSet(split, augmentation, self.seed, self.dataset.reading)

    @cached_property
    def _validation(self) -> Split | None:
        return _told(self.dataset.read("val"))

    def _place(self) -> tuple[int, int]:
        """Rank and world size."""
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size


def _told(split: Split | None) -> Split | None:
    """The split, after one log line of it: a warning where there were defects."""
    if split is not None:
        level = logging.WARNING if any(each.defect for each in split.findings) else logging.INFO
        rank_zero_only(logger.log)(level, "%s", split.summary())
    return split


def _present(name: str, split: Split | None, advice: str) -> Split:
    if split is None:
        raise DataError(f"expected a {name} split, found none; {advice.replace('*', name)}")
    return split


def _require_boxes(split: Split) -> None:
    if not split.num_boxes:
        raise DataError(
            f"{split.source} has no annotations of its {counted(split.num_images, 'image')}, so "
            "there is nothing to learn or to score; add 'annotations', or choose another file with "
            "data.*_images and data.*_annotations"
        )


def _in_classes(val: Split, train: Split) -> Split:
    """The validation split with the labels of training.

    Raises:
        DataError: it has a class that training lacks.
    """
    ours, theirs = train.label_space, val.label_space
    labels = theirs.labels_in(ours)
    lacking = [label for label in range(len(theirs)) if label not in labels]
    if lacking:
        known, other = (
            set(zip(space.category_ids, space.names, strict=True)) for space in (ours, theirs)
        )
        mine, its = (some(list(map(str, sorted(each)))) for each in (known - other, other - known))
        raise DataError(
            "validation needs the same categories as training, or some of them; only in "
            f"{train.source.name}: {mine}, only in {val.source.name}: {its}; "
            "make 'categories' agree"
        )
    if absent := [name for i, name in enumerate(ours.names) if i not in labels.values()]:
        told = "%s lacks %d of the %d classes of training, which are not scored: %s"
        rank_zero_only(logger.warning)(told, val.source.name, len(absent), len(ours), some(absent))
    return val.in_classes(ours, labels)
