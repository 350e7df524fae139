"""The embedded data set: drawn once into the cache folder, in COCO format."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detbox.data.drawing import NAMES, draw_scene
from detbox.errors import MachineError, SettingError
from detbox.messages import counted
from detbox.places import cache_folder

logger = logging.getLogger("detbox")

VERSION = 4
"""counts changes of the drawing, so that no old pictures are taken for new ones"""
SPLITS = {"train": 0, "val": 1}


def ensure_shapes(image_size: int, counts: dict[str, int]) -> Path:
    """The folder of the set with `counts` images per split, drawn now unless it is there.

    Raises:
        ValueError: a size or a number of images is too small.
        RuntimeError: the cache folder cannot be written.
    """
    if image_size < 32 or min(counts.values()) < 1:
        raise SettingError(
            f"expected image_size >= 32 and at least one image per split, got {image_size} and "
            f"{counts}; try data.image_size=128 data.train_images=1500 data.val_images=200"
        )
    name = f"shapes-v{VERSION}-{image_size}px-{counts['train']}-{counts['val']}"
    folder = cache_folder() / name
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
    except OSError as error:
        raise MachineError(
            f"cannot write to {folder.parent} ({error}); set DETBOX_CACHE to a folder of yours"
        ) from None
    logger.info("drawing %s into %s", counted(sum(counts.values()), "picture"), folder)
    try:
        for split, count in counts.items():
            _write_split(draft, split, count, image_size)
        _publish(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _publish(draft: Path, folder: Path) -> None:
    """Show the finished set in one step; of two processes that race, the first one wins."""
    draft.chmod(0o755)
    try:
        draft.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _write_split(root: Path, split: str, count: int, image_size: int) -> None:
    (root / split).mkdir()
    (root / "annotations").mkdir(exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(count):
        random = np.random.default_rng((VERSION, SPLITS[split], index))
        scene = draw_scene(image_size, random)
        file = f"{index:06d}.jpg"
        Image.fromarray(scene.pixels).save(root / split / file, quality=95, subsampling=0)
        image = {"id": index + 1, "file_name": file, "height": image_size, "width": image_size}
        images.append(image)
        for label, box in zip(scene.labels, scene.boxes, strict=True):
            annotations.append(_annotation(len(annotations) + 1, index + 1, label + 1, box))
    document = {
        "info": {"description": f"detbox shapes v{VERSION}, {split}"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": label + 1, "name": name} for label, name in enumerate(NAMES)],
    }
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(document))


def _annotation(
    number: int, image_id: int, category_id: int, box: tuple[float, float, float, float]
) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": list(box),
        "area": box[2] * box[3],
        "iscrowd": 0,
    }
