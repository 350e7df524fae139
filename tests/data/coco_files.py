"""Parts of small COCO folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detbox.data.transforms import Recipe

SHARED = Path(__file__).parents[2].parent / "shared" / "data"

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


def recipe(**fields: Any) -> Recipe:
    """A recipe that shows pictures with a short side of 48 pixels, as they are."""
    defaults: dict[str, Any] = {"train_sizes": (48,), "eval_size": 48, "max_size": 200}
    defaults |= {"crop": False, "crop_from": (40, 50), "crop_sizes": (24, 40)}
    return Recipe(**{**defaults, "flip": 0.0, "jitter": 0.0, **fields})
