"""Numbers from ground truth and COCO result entries, by pycocotools."""

from __future__ import annotations

from collections import Counter
from contextlib import redirect_stdout
from io import StringIO
from itertools import count
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detbox.annotations.split import Split
from detbox.evaluation.duplicates import suppressed_ap50
from detbox.evaluation.metrics import mean
from detbox.figures import OFFICIAL, ClassMetrics, CocoMetrics

Entries = list[dict[str, Any]]


def ground_truth(split: Split) -> COCO:
    """What pycocotools would read from the split's file.

    Numbered afresh from 1 on, since pycocotools takes an id of 0 for "not matched"; without masks,
    which box evaluation does not read.
    """
    categories = split.label_space.category_ids
    columns = (split.owners(), split.labels, split.boxes, split.areas, split.crowd)
    image_ids = split.image_ids.tolist()
    annotations = [
        {
            "id": number,
            "image_id": image_ids[owner],
            "category_id": categories[label],
            "bbox": box,
            "area": area,
            "iscrowd": int(crowd),
        }
        for number, owner, label, box, area, crowd in zip(
            count(1), *(column.tolist() for column in columns), strict=False
        )
    ]
    names = zip(categories, split.label_space.names, strict=True)
    named = [{"id": number, "name": name} for number, name in names]
    return index([{"id": number} for number in image_ids], named, annotations)


def index(images: Entries, categories: Entries, annotations: Entries) -> COCO:
    """A pycocotools object over these lists, made without printing."""
    coco = COCO()
    coco.dataset = {"images": images, "categories": categories, "annotations": annotations}
    with redirect_stdout(StringIO()):
        coco.createIndex()
    return coco


def score(truth: COCO, entries: Entries, image_ids: list[int], *, nms: bool = True) -> CocoMetrics:
    """All figures of `CocoMetrics`.

    Args:
        truth: from `ground_truth`.
        entries: COCO results; those of other images are not read.
        image_ids: images that count, with or without entries.
        nms: False: without `AP50_nms`.
    """
    twelve, everything, precision = _figures(truth, entries, image_ids)
    annotations, categories = truth.dataset["annotations"], sorted(truth.cats)
    return CocoMetrics(
        **twelve,
        **everything,
        AP50_nms=suppressed_ap50(annotations, categories, entries, image_ids) if nms else None,
        images=len(image_ids),
        most=_most(entries),
        classes=tuple(_class_metrics(truth, image_ids, precision)),
    )


def _figures(
    truth: COCO, entries: Entries, image_ids: list[int]
) -> tuple[dict[str, float], dict[str, float], np.ndarray]:
    """The 12 numbers, those of all detections, and the precision of the 12, (T, R, K).

    Pycocotools matches the detections of a class one after the other, best first, so that later
    ones change nothing among the first 100: one pass serves both.
    """
    evaluation = _evaluation(truth, entries, image_ids)
    if (most := _most(entries)) > OFFICIAL:
        evaluation.params.maxDets = [*evaluation.params.maxDets, most]
    precision = _run(evaluation)
    with redirect_stdout(StringIO()):
        evaluation.summarize()
    numbers = dict(zip(CocoMetrics._fields, evaluation.stats.tolist(), strict=False))
    recall = evaluation.eval["recall"]
    everything = {"AP_all": mean(precision[..., 0, -1]), "AR_all": mean(recall[..., 0, -1])}
    return numbers, everything, precision[..., 0, 2]


def _most(entries: Entries) -> int:
    """Detections of the class and image that have the most."""
    pairs = Counter((entry["image_id"], entry["category_id"]) for entry in entries)
    return max(pairs.values(), default=0)


def _evaluation(truth: COCO, entries: Entries, image_ids: list[int]) -> COCOeval:
    categories = truth.dataset["categories"]
    found = index(truth.dataset["images"], categories, list(map(_numbered, entries, count(1))))
    evaluation = COCOeval(truth, found, "bbox")
    evaluation.params.imgIds = image_ids
    return evaluation


def _run(evaluation: COCOeval) -> np.ndarray:
    """Precision by threshold, recall, class, area and number of detections, (T, R, K, A, M)."""
    with redirect_stdout(StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
    precision: np.ndarray = evaluation.eval["precision"]
    return precision


def _numbered(entry: dict[str, Any], number: int) -> dict[str, Any]:
    """What pycocotools' `loadRes` adds, without the polygon it makes of every box."""
    _, _, width, height = entry["bbox"]
    return {**entry, "id": number, "area": width * height, "iscrowd": 0}


def _class_metrics(truth: COCO, image_ids: list[int], precision: np.ndarray) -> list[ClassMetrics]:
    """From the precision (T, R, K), classes by id."""
    counts = dict.fromkeys(sorted(truth.cats), 0)
    for image_id in image_ids:
        for annotation in truth.imgToAnns[image_id]:
            if not annotation["iscrowd"] and annotation["category_id"] in counts:
                counts[annotation["category_id"]] += 1
    return [
        ClassMetrics(
            name=str(truth.cats[category_id]["name"]),
            category_id=category_id,
            boxes=boxes,
            AP=mean(precision[..., position]),
            AP50=mean(precision[0, :, position]),
        )
        for position, (category_id, boxes) in enumerate(counts.items())
    ]
