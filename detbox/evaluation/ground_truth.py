"""What pycocotools needs of an annotation file, mended where users' files are incomplete."""

from __future__ import annotations

import json
import logging
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO

logger = logging.getLogger("detbox")


def load_ground_truth(annotation_file: str | Path) -> COCO:
    """Read a COCO annotation file.

    `info`, `licenses`, `iscrowd` and `area` may be missing; an area is then that of the box.
    Annotations are numbered afresh, since pycocotools takes an id of 0 for "not matched".
    Annotations without a box of four numbers are left out; a warning in the log counts them.

    Raises:
        ValueError: the file does not exist, is no JSON, or lacks `images` or `categories`.
    """
    data = _read(Path(annotation_file))
    annotations: list[dict[str, Any]] = []
    without_box = 0
    for annotation in data.get("annotations", []):
        if len(annotation.get("bbox") or ()) == 4:
            annotations.append(_entry(annotation, len(annotations) + 1))
        else:
            without_box += 1
    if without_box:
        logger.warning("%s: %d annotations without box left out", annotation_file, without_box)
    if not annotations:
        logger.warning("%s has no boxes: all figures are undefined", annotation_file)
    images = [{"id": image["id"]} for image in data["images"]]
    return index(images, data["categories"], annotations)


def index(images: list[dict], categories: list[dict], annotations: list[dict]) -> COCO:
    """A pycocotools object over these lists, made without printing."""
    coco = COCO()
    coco.dataset = {"images": images, "categories": categories, "annotations": annotations}
    with redirect_stdout(StringIO()):
        coco.createIndex()
    return coco


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"no annotation file at {path}; check data.root")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); expected COCO annotations") from error
    if not isinstance(data, dict) or not {"images", "categories"} <= set(data):
        raise ValueError(f"{path} lacks `images` or `categories`; expected COCO annotations")
    return data


def _entry(annotation: dict[str, Any], number: int) -> dict[str, Any]:
    """The fields that box evaluation reads; masks would only cost memory."""
    left, top, width, height = map(float, annotation["bbox"])
    return {
        "id": number,
        "image_id": annotation["image_id"],
        "category_id": annotation["category_id"],
        "bbox": [left, top, width, height],
        "area": float(annotation.get("area", width * height)),
        "iscrowd": int(annotation.get("iscrowd", 0)),
    }
