"""COCO evaluation by pycocotools, over one process or many."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch.distributed as dist

from detbox.errors import DataError
from detbox.evaluation.ground_truth import load_ground_truth
from detbox.evaluation.metrics import CocoMetrics
from detbox.evaluation.score import score
from detbox.messages import some
from detbox.structures import Detections, LabelSpace

logger = logging.getLogger("detbox")

BOX_DECIMALS = 3
SCORE_DECIMALS = 8


class CocoEvaluator:
    """Collect detections and compare them with an annotation file.

    Every image of the file counts, also one without detections; an image that comes twice (from a
    sampler that pads) counts once. Classes are matched by name; detections of a class that the file
    does not have are left out.

    Args:
        annotation_file: COCO JSON.
        label_space: classes of the detector.

    Raises:
        ValueError: no annotation file, or one that shares no class with the detector.
    """

    def __init__(self, annotation_file: str | Path, label_space: LabelSpace) -> None:
        self.annotation_file = Path(annotation_file)
        self._truth = load_ground_truth(annotation_file)
        categories = self._truth.dataset["categories"]
        self._category_ids = _spoken(categories, label_space, self.annotation_file)
        self._detections: dict[int, Detections] = {}

    def update(self, image_ids: Sequence[int], detections: Sequence[Detections]) -> None:
        """Add the detections of some images.

        Raises:
            ValueError: an image that the annotation file does not name.
        """
        for image_id, found in zip(image_ids, detections, strict=True):
            if image_id not in self._truth.imgs:
                raise DataError(f"{self.annotation_file} has no image {image_id}; other split?")
            host = (found.boxes.float().cpu(), found.scores.float().cpu(), found.labels.cpu())
            self._detections.setdefault(image_id, Detections(*host))

    def reset(self) -> None:
        """Forget all detections."""
        self._detections = {}

    def gather(self) -> None:
        """Share the detections of all processes, in the order of their ranks; call once."""
        if not (dist.is_available() and dist.is_initialized()):
            return
        parts: list[dict[int, Detections]] = [{} for _ in range(dist.get_world_size())]
        dist.all_gather_object(parts, self._detections)
        self.reset()
        for part in parts:
            self.update(list(part), list(part.values()))

    def results(self) -> list[dict[str, Any]]:
        """COCO results: category ids of the file, xywh boxes in pixels; images in order of id."""
        entries: list[dict[str, Any]] = []
        for image_id in sorted(self._detections):
            entries.extend(_entries(image_id, self._detections[image_id], self._category_ids))
        return entries

    def compute(self, *, seen_only: bool = False) -> CocoMetrics:
        """Compare what was collected, and the same numbers that `results` gives, with the file.

        Args:
            seen_only: count only the images that came; for a run over a part of the data.
        """
        image_ids = self._detections if seen_only else self._truth.imgs
        return score(self._truth, self.results(), sorted(image_ids))


def evaluate_results(annotation_file: str | Path, results_file: str | Path) -> CocoMetrics:
    """The figures of a COCO results file.

    Raises:
        ValueError: no such file, not a results file, or one made for other images.
    """
    truth = load_ground_truth(annotation_file)
    entries = _read_results(Path(results_file))
    strangers = {entry["image_id"] for entry in entries} - set(truth.imgs)
    if strangers:
        raise DataError(
            f"{results_file} has {len(strangers)} images that {annotation_file} does not name, "
            f"such as {min(strangers)}; other split?"
        )
    return score(truth, entries, sorted(truth.imgs))


def _read_results(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise DataError(f"no results file at {path}")
    entries = json.loads(path.read_text(encoding="utf-8"))
    needed = {"image_id", "category_id", "bbox", "score"}
    if not isinstance(entries, list) or any(not needed <= set(entry) for entry in entries):
        raise DataError(f"{path} is no COCO results file: expected a list of {sorted(needed)}")
    return entries


def _entries(image_id: int, found: Detections, ids: dict[int, int]) -> Iterator[dict[str, Any]]:
    """Rounded after the subtraction in float64: 1/1000 pixel, scores as exact as float32."""
    boxes = found.boxes.double()
    boxes[:, 2:] -= boxes[:, :2]
    rows = zip(boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
    for box, confidence, label in rows:
        if label in ids:
            yield {
                "image_id": image_id,
                "category_id": ids[label],
                "bbox": [round(number, BOX_DECIMALS) for number in box],
                "score": round(confidence, SCORE_DECIMALS),
            }


def _spoken(categories: list[dict], space: LabelSpace, path: Path) -> dict[int, int]:
    """The file's category id of every label whose class the file has.

    A class is found by id and name, or else by its name where that is unique on both sides; never
    by its id alone, since numbering differs between data sets.
    """
    pairs = [(int(category["id"]), str(category["name"])) for category in categories]
    given, own = (Counter(names) for names in ([name for _, name in pairs], space.names))
    id_of = {name: number for number, name in pairs if given[name] == own[name] == 1}
    ids: dict[int, int] = {}
    for label, pair in enumerate(zip(space.category_ids, space.names, strict=True)):
        if pair in pairs:
            ids[label] = pair[0]
        elif pair[1] in id_of:
            ids[label] = id_of[pair[1]]
    _check_shared(ids, space, path, list(given))
    return ids


def _check_shared(ids: dict[int, int], space: LabelSpace, path: Path, given: list[str]) -> None:
    """Refuse a file that shares no class with the detector, and warn of one that lacks some."""
    if not ids:
        raise DataError(
            f"{path} and the detector share no class name: the file has {some(given)}, "
            f"the detector {some(space.names)}; other data set, or other names?"
        )
    absent = [name for label, name in enumerate(space.names) if label not in ids]
    if absent:
        logger.warning(
            "%s lacks %d of the detector's %d classes, which are not scored: %s",
            path,
            len(absent),
            len(space),
            some(absent),
        )
