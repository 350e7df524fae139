"""What duplicates cost: AP50 after a suppression that DETRs are meant to do without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torchvision import ops

from detbox.evaluation.curves import curves
from detbox.evaluation.metrics import mean
from detbox.evaluation.pairing import Found, found_of, pair, truth_of
from detbox.figures import CocoMetrics

NMS_IOU = 0.6
LARGE = 0.05
"""AP50; seeds of a small run differ by less"""
CLASS = "class"
"""the loss that tells an object's one query from the others"""


def suppressed_ap50(
    annotations: Sequence[Mapping[str, Any]],
    categories: Sequence[int],
    entries: Sequence[Mapping[str, Any]],
    image_ids: Sequence[int],
) -> float:
    """AP50 as pycocotools would give it after a suppression within each class.

    Args:
        annotations: the truth, as a COCO file has it.
        categories: all ids.
        entries: COCO results.
        image_ids: images that count.
    """
    truth = truth_of(annotations, image_ids)
    kept = suppressed(found_of(entries, image_ids))
    found = curves(pair(kept, truth), truth, categories)
    return mean(np.array([each.precision for each in found]))


def suppressed(found: Found) -> Found:
    """Without each detection that overlaps a better one of its class and image by more than 0.6."""
    order = np.argsort(found.images, kind="stable")
    starts = np.flatnonzero(np.diff(found.images[order])) + 1
    kept = [own[_kept(found.at(own))] for own in np.split(order, starts)]
    return found.at(np.sort(np.concatenate(kept)))


def advice(metrics: CocoMetrics, weights: Mapping[str, float]) -> str:
    """A line where much is lost to duplicates; empty where little is.

    Args:
        metrics: of a validation.
        weights: of the losses, by name.
    """
    gain = (metrics.AP50 if metrics.AP50_nms is None else metrics.AP50_nms) - metrics.AP50
    if gain < LARGE:
        return ""
    told = (
        f"NMS {NMS_IOU:g} would give +{gain:.2f} AP50: the last layers have not learned to "
        "suppress duplicates; train longer"
    )
    if CLASS not in weights:
        return told
    return f"{told} or raise criterion.weights.{CLASS} (now {weights[CLASS]:g})"


def _kept(found: Found) -> np.ndarray:
    """Positions in one image."""
    boxes = np.concatenate((found.boxes[:, :2], found.boxes[:, :2] + found.boxes[:, 2:]), 1)
    columns = (torch.from_numpy(each) for each in (boxes, found.scores, found.categories))
    kept: np.ndarray = ops.batched_nms(*columns, NMS_IOU).numpy()
    return kept
