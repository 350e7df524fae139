"""COCO's JSON, for boxes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from detbox.annotations.coco_layouts import LAYOUTS, find_split, find_undivided
from detbox.annotations.findings import Finding
from detbox.annotations.formats import Format, Source
from detbox.annotations.packing import Images, Objects, pack, with_findings
from detbox.annotations.split import Split
from detbox.errors import DataError, MissingFileError
from detbox.registry import FORMATS
from detbox.structures import LabelSpace

NO_BOX = (math.nan,) * 4


@FORMATS.register("coco")
def coco() -> Format:
    """COCO detection: one JSON per split."""
    return Format(LAYOUTS, find_split, find_undivided, read_coco)


def read_coco(source: Source) -> Split:
    """Read a COCO annotation file.

    Any encoding of Unicode is read; ids may be written as numbers or as strings of digits. `info`,
    `licenses`, `annotations` and an object's `id`, `iscrowd` and `area` may be missing or null.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no COCO annotation file.
    """
    file = source.annotations
    document = _load(file)
    space = _label_space(document["categories"], file)
    images = _images(document["images"], file)
    listed = document["annotations"]
    split = pack(file, source.images, space, images, _objects(listed, images, space))
    if listed:
        return split
    return with_findings(split, Finding("annotations: all figures are undefined", 0, file.name))


def _load(file: Path) -> dict[str, list[dict[str, Any]]]:
    if not file.is_file():
        raise MissingFileError(
            f"expected COCO annotations at {file}, there is no such file; "
            "set data.root, or data.train_annotations and data.val_annotations"
        )
    try:
        document = json.loads(file.read_bytes())
    except ValueError as error:
        raise DataError(f"{file} is no valid JSON ({error}); export or download it again") from None
    if isinstance(document, dict) and document.get("annotations") is None:
        document["annotations"] = []
    for key in ("images", "annotations", "categories"):
        if not isinstance(document, dict) or not isinstance(document.get(key), list):
            raise DataError(
                f"expected a COCO file with the lists images, annotations and categories, "
                f"{file} lacks {key!r}; export it as 'COCO detection'"
            )
    for key in ("images", "annotations", "categories"):
        if not all(isinstance(entry, dict) for entry in document[key]):
            raise DataError(f"{file}: expected {key!r} to hold objects only; mend the file")
        if not document[key] and key != "annotations":
            raise DataError(f"{file}: {key!r} is empty, expected at least one entry; mend the file")
    return document


def _label_space(categories: list[dict[str, Any]], file: Path) -> LabelSpace:
    try:
        return LabelSpace.from_categories(
            [{**category, "id": _whole(category["id"])} for category in categories]
        )
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{file}: every category needs 'id' and 'name', one has no {error}"
        ) from None
    except ValueError as error:
        raise DataError(f"{file}: {error}") from None


def _images(images: list[dict[str, Any]], file: Path) -> Images:
    for image in images:
        sides = (image.get("height"), image.get("width"))
        sized = all(isinstance(side, int | float) and side >= 1 for side in sides)
        named = isinstance(image.get("file_name"), str)
        if not (sized and named and isinstance(_whole(image.get("id")), int)):
            shown = {key: image.get(key) for key in ("id", "height", "width", "file_name")}
            raise DataError(
                f"{file}: every image needs a whole number 'id', 'height' and 'width' in pixels "
                f"and a 'file_name', got {shown}; mend the entry"
            )
    ids = np.array([_whole(image["id"]) for image in images], dtype=np.int64)
    sizes = np.array([(image["height"], image["width"]) for image in images], dtype=np.int64)
    return Images(ids, sizes, [image["file_name"] for image in images])


def _objects(annotations: list[dict[str, Any]], images: Images, space: LabelSpace) -> Objects:
    image_of: dict[Any, int] = {number: i for i, number in enumerate(images.ids.tolist())}
    label_of: dict[Any, int] = {number: i for i, number in enumerate(space.category_ids)}
    return Objects(
        owners=np.array([image_of.get(_whole(a.get("image_id")), -1) for a in annotations], int),
        labels=np.array([label_of.get(_whole(a.get("category_id")), -1) for a in annotations], int),
        boxes=np.array([_box(a.get("bbox")) for a in annotations], np.float64).reshape(-1, 4),
        areas=np.array([_number(a.get("area")) for a in annotations], np.float64),
        crowd=np.array([bool(a.get("iscrowd")) for a in annotations], bool),
        ids=np.array([_whole(a.get("id")) for a in annotations], object),
    )


def _whole(value: object) -> int | str | None:
    """An id as a whole number where it can be read as one; else as text, for messages."""
    if isinstance(value, int) or value is None:
        return value
    text = str(value).removesuffix(".0")
    return int(text) if text.isdecimal() else text


def _box(value: object) -> tuple[float, ...]:
    numbers = tuple(map(_number, value)) if isinstance(value, list) else ()
    return numbers if len(numbers) == 4 else NO_BOX


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
