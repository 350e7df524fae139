"""Predictions as files: a drawn picture each, and one JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich import get_console
from rich.progress import track
from torch import Tensor

from detbox.data.images import UnreadableImageError
from detbox.errors import DataError, SettingError
from detbox.evaluation.drawing import draw
from detbox.evaluation.fonts import legible
from detbox.evaluation.threshold import advice
from detbox.messages import counted, some
from detbox.places import unique_names
from detbox.postprocess import select
from detbox.predictor import Predictor
from detbox.structures import Detections, LabelSpace

logger = logging.getLogger("detbox")

LEGIBLE_SIDE = 512
"""pixels; of a picture by itself"""


class Written(NamedTuple):
    """What `predict_to_folder` left behind."""

    predictions: Path
    """the JSON file"""
    pictures: tuple[Path, ...]
    skipped: int
    """files that could not be read"""


def predict_to_folder(
    predictor: Predictor, sources: Sequence[Path], folder: Path, threshold: float = 0.3
) -> Written:
    """Draw what is found in each picture, and write all of it to `folder/predictions.json`.

    The JSON holds `images` (file, drawn picture, height, width and detections with name,
    category_id, score and box as xyxy pixels) and `skipped` (file, reason). Small pictures are
    drawn enlarged; the boxes in the JSON are always those of the original, cut off at its edges.
    Where nothing reaches the threshold, a line says in how many pictures, and what to try.

    Raises:
        ValueError: not one picture could be read, or a source lies in `folder`.
    """
    if any(source.resolve().parent == folder.resolve() for source in sources):
        raise SettingError(f"pictures would be written among their sources; not into {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    pictures: list[Path] = []
    best: list[float] = []
    targets, names = unique_names(sources, ".jpg"), legible(predictor.label_space)
    progress = track(sources, "predict", transient=True, disable=not get_console().is_terminal)
    for source, name in zip(progress, targets, strict=True):
        try:
            picture = predictor.read(source)
        except UnreadableImageError as error:
            skipped.append({"file": str(source), "reason": str(error)})
            continue
        pixels = picture.pixels
        (found,) = predictor.detect([picture])
        best.append(float(found.scores.max()) if len(found.scores) else 0.0)
        found = select(found, found.scores >= threshold)
        drawn = draw(pixels, found, names, threshold=threshold, legible_side=LEGIBLE_SIDE)
        drawn.save(folder / name, quality=95, subsampling=0)
        pictures.append(folder / name)
        images.append(_entry(source, name, pixels, found, predictor.label_space))
    predictor.troubles.report()
    if skipped:
        told = some([entry["reason"] for entry in skipped], 3)
        logger.warning("%s could not be read: %s", counted(len(skipped), "image"), told)
    if not images:
        raise DataError(f"none of {counted(len(skipped), 'image')} could be read")
    written = Written(folder / "predictions.json", tuple(pictures), len(skipped))
    content = json.dumps({"images": images, "skipped": skipped}, indent=1, ensure_ascii=False)
    # JSON escapes what UTF-8 cannot hold, such as a file name of another encoding, in this way too.
    written.predictions.write_text(content, encoding="utf-8", errors="backslashreplace")
    if line := advice(best, threshold):
        logger.info("%s", line)
    return written


def _entry(
    source: Path, name: str, pixels: Tensor, found: Detections, space: LabelSpace
) -> dict[str, Any]:
    """One picture of `predictions.json`."""
    rows = zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
    detections = [
        {
            "name": space.names[label],
            "category_id": space.category_ids[label],
            "score": round(score, 6),
            "box": [round(side, 2) for side in box],
        }
        for label, score, box in rows
    ]
    height, width = pixels.shape[-2:]
    place = {"file": str(source), "picture": name, "height": height, "width": width}
    return {**place, "detections": detections}
