"""Builders of the data sets; their keyword-only parameters are the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from detbox.annotations.split import Split
from detbox.arranging.background import with_background
from detbox.arranging.classes import in_classes, name_learnt
from detbox.arranging.divided import Divided, Dividing
from detbox.arranging.naming import ClassNames, Merges, class_names, merges
from detbox.data.augmentation import Augmentation
from detbox.data.dataset import DataSet, Loading
from detbox.data.folder import Folder, Named, folders
from detbox.data.images import AUTOMATIC, Reading
from detbox.data.paths import InsidePath, OfFolder, OwnFile, OwnPath, several
from detbox.data.pixel_range import PixelRange
from detbox.data.shapes import ensure_shapes
from detbox.data.steps import COCO_SIZES
from detbox.data.transforms import Display
from detbox.ranges import Count, Several, Share, ShareBelowOne, ShareWithin, Whole
from detbox.registry import DATA


@DATA.register("coco")
@DATA.register("folder")
def folder(
    *,
    root: OwnPath = None,
    train_images: InsidePath = None,
    train_annotations: InsidePath = None,
    val_images: InsidePath = None,
    val_annotations: InsidePath = None,
    format: OfFolder = None,
    classes: ClassNames = (),
    merge: Merges = None,
    val_fraction: ShareWithin | None = None,
    folds: Several | None = None,
    fold: Whole | None = None,
    split_seed: Whole = 0,
    keep_alike: bool = True,
    pool: bool = False,
    division: OwnFile = None,
    background: bool = True,
    negatives: OwnFile = None,
    batch_size: Count = 2,
    eval_batch_size: Count = 2,
    workers: Whole = 4,
    total_batch: Count | None = None,
    repeat_threshold: Share = 0.0,
    train_sizes: tuple[Count, ...] = COCO_SIZES,
    eval_size: Count = 800,
    max_size: Count = 1333,
    pixel_range: str = "auto",
    max_pixels: Count = AUTOMATIC.max_pixels,
    crop: bool = True,
    crop_from: tuple[Count, ...] = (400, 500, 600),
    crop_sizes: tuple[Count, ...] = (384, 600),
    flip: Share = 0.5,
    jitter: ShareBelowOne = 0.0,
    augment: tuple[Any, ...] = ("flip", "crop", "resize", "jitter"),
) -> DataSet:
    """A folder of pictures and annotations.

    The splits are found under `root`, one folder or several, or named: `*_images` and
    `*_annotations` go together and are relative to `root` where it is given. `merge` is {OLD:NEW},
    for classes that count as another; `classes` are those that are kept, in the order of their
    labels. Pictures without splits are divided: `val_fraction` of them validate, or part `fold` of
    `folds`, or those that the file `division` names; near-duplicates stay on one side with
    `keep_alike`, and with `pool` both splits are divided together. Training leaves out pictures
    without objects where `background` is false, and has all those of the folder `negatives`.
    `augment` lists the steps of training in order; what a step's entry leaves open is as the
    settings of the data set say. `batch_size` is per device; `total_batch` is that of an optimizer
    step, over devices, nodes and accumulated batches. Pictures of classes that are in less than a
    share `repeat_threshold` of all come more often. `pixel_range` says what is black and white
    where pictures store more than 8 bits: a number of bits, LOW:HIGH, `minmax` of each picture, or
    `auto`, the full scale next to its largest value. `max_pixels` is the limit of a file.
    """
    named = {
        "train": Named(train_images, train_annotations),
        "val": Named(val_images, val_annotations),
    }
    dividing = Dividing(val_fraction, folds, fold, split_seed, keep_alike, pool, division).checked()
    known: dict[str, dict[str, Any]] = {
        "flip": {"share": flip},
        "crop": {"share": 0.5 if crop else 0.0, "short_sides": crop_from, "sides": crop_sizes},
        "resize": {"short_sides": train_sizes, "longest": max_size},
        "jitter": {"share": jitter},
    }
    keep, renamed = class_names(classes), merges(merge)
    read = folders(several(root), named, format, partial(name_learnt, keep=keep, merge=renamed))
    read = in_classes(read, keep, renamed)
    divided = Divided(read, dividing) if dividing.asked else None
    return DataSet(
        with_background(divided or read, background, negatives),
        Display(eval_size, max_size),
        partial(Augmentation, augment, known),
        Loading(batch_size, eval_batch_size, workers, total_batch, repeat_threshold),
        reading=Reading(PixelRange.parse(pixel_range), max_pixels).checked(),
        division=divided.division if divided else None,
        advice="data.val_fraction=0.2 divides the pictures that are there; or set data.root to a "
        "folder that has one, or data.*_images and data.*_annotations",
    )


@DATA.register("shapes")
def shapes(
    *,
    image_size: Count = 128,
    train_images: Count = 1500,
    val_images: Count = 200,
    batch_size: Count = 8,
    eval_batch_size: Count = 16,
    workers: Whole = 0,
    total_batch: Count | None = None,
    train_sizes: tuple[Count, ...] = (),
    flip: Share = 0.5,
    jitter: ShareBelowOne = 0.0,
    augment: tuple[Any, ...] = ("flip", "resize", "jitter"),
) -> DataSet:
    """Drawn shapes; made on first use, within seconds, in the cache folder.

    Pictures are shown at `image_size` unless `train_sizes` says otherwise; what is drawn does not
    depend on the seed.
    """
    sizes = tuple(train_sizes) or (image_size,)
    longest = max(*sizes, image_size)
    known: dict[str, dict[str, Any]] = {
        "flip": {"share": flip},
        "resize": {"short_sides": sizes, "longest": longest},
        "jitter": {"share": jitter},
    }
    return DataSet(
        partial(_drawn, image_size, {"train": train_images, "val": val_images}),
        Display(image_size, longest),
        partial(Augmentation, augment, known),
        Loading(batch_size, eval_batch_size, workers, total_batch),
        embedded=True,
    )


def _drawn(image_size: int, counts: Mapping[str, int], split: str) -> Split | None:
    root = ensure_shapes(image_size, dict(counts))
    nothing = Named(None, None)
    return Folder(str(root), {"train": nothing, "val": nothing}, "coco")(split)
