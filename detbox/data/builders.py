"""Builders of the data sets; their keyword-only parameters are the configuration."""

from __future__ import annotations

from pathlib import Path

from detbox.data.layout import LAYOUTS, Source, find_split, find_undivided
from detbox.data.module import DataModule, Loading
from detbox.data.repairs import warn
from detbox.data.shapes import ensure_shapes
from detbox.data.transforms import Recipe
from detbox.errors import DataError, MissingFileError
from detbox.registry import DATA

COCO_SIZES = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)


@DATA.register("coco")
def coco(
    seed: int,
    *,
    root: str | None = None,
    train_images: str | None = None,
    train_annotations: str | None = None,
    val_images: str | None = None,
    val_annotations: str | None = None,
    batch_size: int = 2,
    eval_batch_size: int = 2,
    workers: int = 4,
    train_sizes: tuple[int, ...] = COCO_SIZES,
    eval_size: int = 800,
    max_size: int = 1333,
    crop: bool = True,
    crop_from: tuple[int, ...] = (400, 500, 600),
    crop_sizes: tuple[int, ...] = (384, 600),
    flip: float = 0.5,
    jitter: float = 0.0,
) -> DataModule:
    """A folder in COCO format.

    The splits are found under `root`, or named: `*_images` and `*_annotations` go together and are
    relative to `root` where it is given.

    Raises:
        FileNotFoundError: `root` does not exist.
        ValueError: no split is found or named.
    """
    recipe = Recipe(
        tuple(train_sizes),
        eval_size,
        max_size,
        crop,
        tuple(crop_from),
        tuple(crop_sizes),
        flip,
        jitter,
    )
    folder = _existing(root)
    train = _named(folder, train_images, train_annotations, "train")
    val = _named(folder, val_images, val_annotations, "val")
    if folder is not None:
        train, val = _found(folder, train, val)
    if train is None and val is None:
        raise DataError(
            f"data=coco needs data.root=FOLDER with {LAYOUTS}"
            + (f"; {folder} has none of them" if folder else "")
            + "; or name data.train_images, data.train_annotations, data.val_images and "
            "data.val_annotations"
        )
    return DataModule(train, val, recipe, Loading(seed, batch_size, eval_batch_size, workers))


@DATA.register("shapes")
def shapes(
    seed: int,
    *,
    image_size: int = 128,
    train_images: int = 1500,
    val_images: int = 200,
    batch_size: int = 8,
    eval_batch_size: int = 16,
    workers: int = 0,
    train_sizes: tuple[int, ...] = (),
    flip: float = 0.5,
    jitter: float = 0.0,
) -> DataModule:
    """Drawn shapes; made on first use, within seconds, in the cache folder.

    Pictures are shown at `image_size` unless `train_sizes` says otherwise; what is drawn does not
    depend on `seed`.
    """
    sizes = tuple(train_sizes or (image_size,))
    longest = max(*sizes, image_size)
    recipe = Recipe(sizes, image_size, longest, False, (), (), flip, jitter)
    folder = ensure_shapes(image_size, {"train": train_images, "val": val_images})
    train, val = find_split(folder, "train"), find_split(folder, "val")
    loading = Loading(seed, batch_size, eval_batch_size, workers)
    return DataModule(train, val, recipe, loading, embedded=True)


def _existing(root: str | None) -> Path | None:
    if root is None:
        return None
    folder = Path(root).expanduser().absolute()
    if not folder.is_dir():
        raise MissingFileError(f"data.root={root}: there is no folder {folder}; mend the path")
    return folder


def _named(
    root: Path | None, images: str | None, annotations: str | None, split: str
) -> Source | None:
    if images is None and annotations is None:
        return None
    if images is None or annotations is None:
        given = "images" if annotations is None else "annotations"
        raise DataError(
            f"data.{split}_images and data.{split}_annotations go together, "
            f"got only data.{split}_{given}; set the other as well"
        )
    base = root or Path.cwd()
    return Source(*(base / Path(path).expanduser() for path in (images, annotations)))


def _found(
    root: Path, train: Source | None, val: Source | None
) -> tuple[Source | None, Source | None]:
    """Fill in the splits that were not named."""
    train = train or find_split(root, "train")
    val = val or find_split(root, "val")
    if train is None and val is None and (whole := find_undivided(root)):
        warn(
            f"{root} is not divided into train and val: training and evaluation use the same "
            "images; name data.val_images and data.val_annotations for figures worth reporting"
        )
        return whole, whole
    return train, val
