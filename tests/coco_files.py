"""Parts of small COCO folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detbox.data.augmentation import FIRST, Augmentation
from detbox.data.transforms import Display

SHARED = Path(__file__).parents[1].parent / "shared" / "data"

WriteSplit = Callable[..., Path]


def write_files(root: Path, split: str = "train", **fields: Any) -> Path:
    """Write `annotations/instances_<split>.json` and noisy pictures under `root`."""
    document = {
        "images": [image(1)],
        "annotations": [],
        "categories": [{"id": 1, "name": "cat"}],
    } | fields
    folder = root / split
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for entry in document["images"]:
        shape = (entry["height"], entry["width"], 3)
        pixels = random.integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / entry["file_name"])
    (root / "annotations").mkdir(exist_ok=True)
    file = root / "annotations" / f"instances_{split}.json"
    file.write_text(json.dumps(document))
    return root


def image(image_id: int, height: int = 48, width: int = 64) -> dict[str, Any]:
    """An entry of `images`."""
    name = f"{image_id:04d}.png"
    return {"id": image_id, "height": height, "width": width, "file_name": name}


def box(number: int, image_id: int, xywh: list[float], **fields: Any) -> dict[str, Any]:
    """An entry of `annotations`."""
    defaults = {"id": number, "image_id": image_id, "category_id": 1, "bbox": xywh, "iscrowd": 0}
    return {**defaults, "area": xywh[2] * xywh[3], **fields}


DISPLAY = Display(48, 200)
"""shows pictures with a short side of 48 pixels as they are"""


def augmentation(**fields: Any) -> Augmentation:
    """As data sets compose it; by default, pictures stay as they are."""
    crop = {"share": 0.5 if fields.get("crop") else 0.0, "short_sides": [40, 50]}
    known: dict[str, dict[str, Any]] = {
        "flip": {"share": fields.get("flip", 0.0)},
        "crop": {**crop, "sides": fields.get("crop_sizes", (24, 40))},
        "resize": {
            "short_sides": fields.get("train_sizes", (48,)),
            "longest": fields.get("max_size", 200),
        },
        "jitter": {"share": fields.get("jitter", 0.0)},
    }
    return Augmentation(fields.get("augment", FIRST), known)
