"""A few training pictures in place of a data set, to be known by heart."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

import numpy as np

from detbox.annotations.split import Split
from detbox.data.augmentation import Augmentation
from detbox.data.dataset import DataSet
from detbox.errors import DataError
from detbox.messages import counted


def few_pictures(dataset: DataSet, count: int, batches: int) -> DataSet:
    """The first training pictures with objects as both splits, without augmentation.

    Args:
        dataset: any.
        count: of pictures.
        batches: that an epoch shall have in one process; pictures come again within it.

    Raises:
        DataError: as the splits are read, if there are fewer pictures with objects.
    """
    size = min(dataset.loading.batch_size, count)
    shown = {"name": "resize", "short_sides": (dataset.display.short,)}
    as_in_evaluation = {**shown, "longest": dataset.display.longest}

    @cache
    def chosen() -> Split | None:
        split = dataset.read("train")
        return None if split is None else _first(split, count)

    def read(name: str) -> Split | None:
        split = chosen()
        if split is None or name == "val":
            return split
        repeated = np.resize(np.arange(count), batches * size)
        return split.of_images(repeated.tolist())._replace(findings=())

    return replace(
        dataset,
        read=read,
        augmentation=partial(Augmentation, (as_in_evaluation,)),
        loading=dataset.loading._replace(batch_size=size, total_batch=None, repeat_threshold=0.0),
    )


def _first(split: Split, count: int) -> Split:
    objects = np.bincount(split.owners()[split.learnt], minlength=split.num_images)
    (images,) = np.nonzero(objects)
    if len(images) < count:
        raise DataError(
            f"overfit={count} takes so many training pictures with objects, {split.source.name} "
            f"has {len(images)} among {counted(split.num_images, 'image')}; give a smaller number"
        )
    return split.of_images(images[:count].tolist())
