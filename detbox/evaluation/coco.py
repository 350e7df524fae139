"""COCO evaluation by pycocotools, over one process or many."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch.distributed as dist
from pycocotools.coco import COCO

from detbox.annotations.split import Split
from detbox.errors import DataError
from detbox.evaluation.pairing import Found, Truth, found_of, truth_of
from detbox.evaluation.score import ground_truth, score
from detbox.figures import CocoMetrics
from detbox.messages import counted, some
from detbox.structures import Detections, LabelSpace

logger = logging.getLogger("detbox")

BOX_DECIMALS = 3
SCORE_DECIMALS = 8


class CocoEvaluator:
    """Collect detections and compare them with a split, as its annotation file has it.

    Every image of the split counts, also one without detections; an image that comes twice (from a
    sampler that pads) counts once. Classes are matched by name; detections of a class that the
    split does not have are left out.

    Args:
        split: the truth.
        label_space: classes of the detector.
        nms: False: without `AP50_nms`.

    Raises:
        ValueError: the split shares no class with the detector.
    """

    def __init__(self, split: Split, label_space: LabelSpace, *, nms: bool = True) -> None:
        self.split = split
        self.nms = nms
        self._image_ids = frozenset(split.image_ids.tolist())
        self._category_ids = _spoken(split, label_space)
        self._detections: dict[int, Detections] = {}

    def update(self, image_ids: Sequence[int], detections: Sequence[Detections]) -> None:
        """Add the detections of some images.

        Raises:
            ValueError: an image that the split does not have.
        """
        for image_id, found in zip(image_ids, detections, strict=True):
            if image_id not in self._image_ids:
                raise DataError(f"{self.split.source} has no image {image_id}; other split?")
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
        return score(self._truth, self.results(), self._counted(seen_only), nms=self.nms)

    def columns(self, *, seen_only: bool = False) -> tuple[Found, Truth]:
        """What was collected, and what there is to find, in arrays."""
        image_ids, annotations = self._counted(seen_only), self._truth.dataset["annotations"]
        return found_of(self.results(), image_ids), truth_of(annotations, image_ids)

    def _counted(self, seen_only: bool) -> list[int]:
        return sorted(self._detections if seen_only else self._image_ids)

    @cached_property
    def _truth(self) -> COCO:
        return ground_truth(self.split)


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


def _spoken(split: Split, space: LabelSpace) -> dict[int, int]:
    """The split's category id of every label whose class the split has."""
    theirs = split.label_space
    ids = {label: theirs.category_ids[other] for label, other in space.labels_in(theirs).items()}
    _check_shared(ids, space, split)
    return ids


def _check_shared(ids: dict[int, int], space: LabelSpace, split: Split) -> None:
    """Refuse a file that shares no class with the detector, and warn where only some are shared."""
    path, given = split.source, split.label_space.names
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
    present = set(split.labels.tolist())
    if unknown := [given[label] for label in sorted(present) if given[label] not in space.names]:
        logger.warning(
            "%s has %s that the detector does not know, which count as never found: %s",
            path,
            counted(len(unknown), "class"),
            some(unknown),
        )
