"""A flawless data set, and one defect at a time in its training split."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from detbox.checking import Subject
from detbox.checking.gathering import gathered
from detbox.registry import DATA

SIDE = 32
IMAGES = 22
"""of a split; enough to tell what is usual"""
BOXES = ([4, 4, 12, 9], [18, 16, 9, 12])
"""of a bolt and a nut, in every picture"""
Document = dict[str, Any]
Plant = Callable[[Document, Path], object]
"""(document, folder of its pictures)"""


def name(index: int) -> str:
    """Of the picture with id `index + 1`, whose annotations are 2 * index + 1 and the next."""
    return f"{index:02d} é&<b>.png"


def write(root: Path, plant: Plant | None = None, split: str = "train") -> Path:
    """The data set in COCO's layout."""
    (root / "annotations").mkdir(parents=True)
    for seed, part in enumerate(("train", "val")):
        folder = root / part
        folder.mkdir()
        random = np.random.default_rng(seed)
        for index in range(IMAGES):
            pixels = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name(index), compress_level=1)
    for part in ("train", "val"):
        document = _document()
        if plant is not None and part == split:
            plant(document, root / part)
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(document))
    return root


def not_divided(root: Path, other: Path) -> Path:
    """The training pictures of a data set once more, in a folder without splits."""
    shutil.copytree(root / "train", other / "images")
    shutil.copy(root / "annotations" / "instances_train.json", other / "result.json")
    return other


def looked_at(
    *roots: Path, queries: int | None = None, side: int = SIDE, **settings: Any
) -> Subject:
    """As the command gathers it, shown at a size."""
    sizes = {"eval_size": side, "max_size": 2 * side, "workers": 0}
    known = {"name": "folder", "root": [str(root) for root in roots], **sizes, **settings}
    return gathered(DATA.build(known), queries, decode=True, alike=True)


def _document() -> Document:
    images = [
        {"id": index + 1, "file_name": name(index), "width": SIDE, "height": SIDE}
        for index in range(IMAGES)
    ]
    annotations = [
        {"id": 2 * index + label, "image_id": index + 1, "category_id": label, "bbox": list(box)}
        for index in range(IMAGES)
        for label, box in enumerate(BOXES, 1)
    ]
    categories = [{"id": 1, "name": "bolt"}, {"id": 2, "name": "nut"}]
    return {"images": images, "annotations": annotations, "categories": categories}


class Planted(NamedTuple):
    """A defect."""

    rule: str
    plant: Plant
    number: int
    files: tuple[int, ...] = ()
    """indices of the pictures that it names"""
    ids: tuple[int, ...] = ()
    """of the annotations that it names"""
    besides: tuple[str, ...] = ()
    """rules that rightly speak as well"""


def annotation(number: int, **fields: Any) -> Plant:
    """Fields of one annotation."""
    return lambda document, folder: document["annotations"][number - 1].update(fields)


def more(count: int, **fields: Any) -> Plant:
    """So many annotations more, from number 901 on; a function is given its position."""

    def plant(document: Document, folder: Path) -> None:
        for at in range(count):
            own = {key: value(at) if callable(value) else value for key, value in fields.items()}
            base = {"id": 901 + at, "image_id": 1, "category_id": 1, "bbox": [1, 20, 10, 10]}
            document["annotations"].append({**base, **own})

    return plant


def classes(*named: tuple[int, str]) -> Plant:
    """Another list of classes."""
    listed = [{"id": number, "name": text} for number, text in named]
    return lambda document, folder: document.update(categories=listed)


def without(label: int, images: range) -> Plant:
    """The annotations of a class taken out of some pictures."""

    def plant(document: Document, folder: Path) -> None:
        document["annotations"] = [
            each
            for each in document["annotations"]
            if each["category_id"] != label or each["image_id"] - 1 not in images
        ]

    return plant


def picture(index: int, change: Callable[[Path], object]) -> Plant:
    """One file changed."""
    return lambda document, folder: change(folder / name(index))


def sized(index: int, width: int, height: int) -> Plant:
    """A picture that is annotated so; its boxes with it."""

    def plant(document: Document, folder: Path) -> None:
        document["images"][index].update(width=width, height=height)

    return plant


def both(*plants: Plant) -> Plant:
    """One after the other."""
    return lambda document, folder: [each(document, folder) for each in plants]


def cut_off(file: Path) -> None:
    """The first half of the bytes."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def as_jpeg(file: Path) -> None:
    """Another format under the same name."""
    Image.open(file).convert("RGB").save(file, "JPEG", quality=95)


def turned(orientation: int, width: int = SIDE) -> Callable[[Path], None]:
    """With an EXIF orientation, and another width."""

    def change(file: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.open(file).resize((width, SIDE)).save(file, "PNG", exif=exif)

    return change


def copied(file: Path, other: str = "../val/") -> None:
    """Shown once more, a little darker."""
    pixels = np.asarray(Image.open(file)) * 0.9
    Image.fromarray(pixels.astype(np.uint8)).save(file.parent / other / name(3))


def deep(file: Path) -> None:
    """Of more than 8 bits."""
    levels = np.random.default_rng(9).integers(0, 4000, (SIDE, SIDE), dtype=np.uint16)
    Image.fromarray(levels).save(file)


def one_colour(file: Path) -> None:
    """Nothing to see."""
    Image.new("RGB", (SIDE, SIDE), (9, 9, 9)).save(file)
