"""What pycocotools needs of an annotation file, mended where users' files are incomplete."""

from __future__ import annotations

import json
import logging
import math
from contextlib import redirect_stdout
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any, TypeGuard

from pycocotools.coco import COCO

from detbox.errors import DataError

logger = logging.getLogger("detbox")


def load_ground_truth(annotation_file: str | Path) -> COCO:
    """Read a COCO annotation file.

    `info`, `licenses`, `iscrowd` and `area` may be missing or null; an area is then that of the
    box. Annotations are numbered afresh, since pycocotools takes an id of 0 for "not matched".
    Those without a box of four numbers, or of an image or a category that the file does not list,
    are left out, as in training; a warning in the log counts them.

    Raises:
        ValueError: the file does not exist, is no JSON, or lacks `images` or `categories`.
    """
    data = _read(Path(annotation_file))
    images = [{"id": image["id"]} for image in data["images"]]
    known = {image["id"] for image in images}, {entry["id"] for entry in data["categories"]}
    given = data.get("annotations") or []
    usable = [annotation for annotation in given if _is_usable(annotation, *known)]
    if broken := len(given) - len(usable):
        logger.warning(
            "%s: %d annotations without valid box, image or category left out",
            annotation_file,
            broken,
        )
    if not usable:
        logger.warning("%s has no boxes: all figures are undefined", annotation_file)
    return index(images, data["categories"], list(map(_entry, usable, count(1))))


def index(images: list[dict], categories: list[dict], annotations: list[dict]) -> COCO:
    """A pycocotools object over these lists, made without printing."""
    coco = COCO()
    coco.dataset = {"images": images, "categories": categories, "annotations": annotations}
    with redirect_stdout(StringIO()):
        coco.createIndex()
    return coco


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(f"no annotation file at {path}; check data.root")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}); expected COCO annotations") from error
    if not isinstance(data, dict) or not {"images", "categories"} <= set(data):
        raise DataError(f"{path} lacks `images` or `categories`; expected COCO annotations")
    return data


def _is_usable(annotation: dict[str, Any], images: set[int], categories: set[int]) -> bool:
    box = annotation.get("bbox")
    boxed = isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))
    placed = annotation.get("image_id") in images
    return boxed and placed and annotation.get("category_id") in categories


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)


def _entry(annotation: dict[str, Any], number: int) -> dict[str, Any]:
    """The fields that box evaluation reads; masks would only cost memory."""
    left, top, width, height = map(float, annotation["bbox"])
    area = annotation.get("area")
    return {
        "id": number,
        "image_id": annotation["image_id"],
        "category_id": annotation["category_id"],
        "bbox": [left, top, width, height],
        "area": float(area) if _is_number(area) else width * height,
        "iscrowd": int(bool(annotation.get("iscrowd"))),
    }
