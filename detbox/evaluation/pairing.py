"""Which detection finds which object at one IoU, as pycocotools decides it, in arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from detbox.figures import OFFICIAL

IOU = 0.5
FALSE = -1
IGNORED = -2


class Truth(NamedTuple):
    """The objects of many images, as columns."""

    images: np.ndarray
    """(A,) ids"""
    categories: np.ndarray
    """(A,) ids"""
    boxes: np.ndarray
    """(A, 4) float64: left, top, width, height in pixels"""
    crowd: np.ndarray
    """(A,) bool"""


class Found(NamedTuple):
    """The detections of many images, as columns."""

    images: np.ndarray
    """(N,) ids"""
    categories: np.ndarray
    """(N,) ids"""
    boxes: np.ndarray
    """(N, 4) float64: left, top, width, height in pixels"""
    scores: np.ndarray
    """(N,) float64"""

    def at(self, index: np.ndarray) -> Found:
        """The detections at an index or under a mask."""
        return Found(*(column[index] for column in self))


class Paired(NamedTuple):
    """Detections, and what each of them finds."""

    found: Found
    """best first; of a class in an image at most as many as COCO counts"""
    objects: np.ndarray
    """(N,) position of the object; FALSE: none, IGNORED: part of a crowd region"""


def truth_of(annotations: Sequence[Mapping[str, Any]], image_ids: Sequence[int]) -> Truth:
    """Columns of a COCO file's annotations, of some images."""
    counted = set(image_ids)
    own = [each for each in annotations if each["image_id"] in counted]
    return Truth(
        _ids(own, "image_id"),
        _ids(own, "category_id"),
        _boxes(own),
        np.array([bool(each["iscrowd"]) for each in own], dtype=bool),
    )


def found_of(entries: Sequence[Mapping[str, Any]], image_ids: Sequence[int]) -> Found:
    """Columns of COCO results, of some images."""
    counted = set(image_ids)
    own = [each for each in entries if each["image_id"] in counted]
    scores = np.array([each["score"] for each in own], dtype=np.float64)
    return Found(_ids(own, "image_id"), _ids(own, "category_id"), _boxes(own), scores)


def pair(found: Found, truth: Truth) -> Paired:
    """Give every detection an object of its class, or none.

    In every image the best detection chooses first, the object that it overlaps most of those that
    are left; where none is left, a crowd region takes any number of detections.
    """
    found = _counted(found.at(np.lexsort((found.images, -found.scores))))
    objects = np.full(len(found.scores), FALSE)
    wanted = groups(truth.images, truth.categories)
    for key, own in groups(found.images, found.categories).items():
        if (there := wanted.get(key)) is not None:
            boxes, crowd = truth.boxes[there], truth.crowd[there]
            chosen = choose(overlaps(found.boxes[own], boxes, crowd), crowd)
            objects[own] = np.where(chosen >= 0, there[chosen.clip(0)], chosen)
    return Paired(found, objects)


def choose(shares: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Objects for detections, best first, (D, G) -> (D,); FALSE and IGNORED as above."""
    chosen = np.full(len(shares), FALSE)
    chosen[(shares[:, crowd] >= IOU).any(1)] = IGNORED
    left = np.where(crowd | (shares < IOU), -1.0, shares)
    for detection in np.flatnonzero((left >= 0).any(1)):
        best = len(crowd) - 1 - int(left[detection, ::-1].argmax())  # the last of equals
        if left[detection, best] >= 0:
            chosen[detection] = best
            left[:, best] = -1.0
    return chosen


def overlaps(boxes: np.ndarray, others: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """IoU of every pair, (D, 4) and (G, 4) -> (D, G); of crowd regions the share of the former."""
    ends, other_ends = boxes[:, :2] + boxes[:, 2:], others[:, :2] + others[:, 2:]
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(ends[:, None], other_ends[None])
    both = (high - low).clip(0).prod(-1)
    own = boxes[:, 2:].prod(-1)[:, None]
    union = np.where(crowd, own, own + others[:, 2:].prod(-1) - both)
    shares: np.ndarray = np.divide(both, union, out=np.zeros_like(both), where=union > 0)
    return shares


def groups(images: np.ndarray, categories: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    """Positions by image and category, in their order."""
    order = np.lexsort((categories, images))
    ids = np.stack((images[order], categories[order]), 1)
    starts = np.flatnonzero((ids[1:] != ids[:-1]).any(1)) + 1
    keys = ids[[0, *starts]].tolist() if len(ids) else []
    return {(i, c): own for (i, c), own in zip(keys, np.split(order, starts), strict=False)}


def _counted(found: Found) -> Found:
    """Without what comes behind the first hundred of a class in an image; best first, as before."""
    keep = np.ones(len(found.scores), dtype=bool)
    for own in groups(found.images, found.categories).values():
        keep[own[OFFICIAL:]] = False
    return found.at(keep)


def _ids(entries: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    return np.array([each[key] for each in entries], dtype=np.int64)


def _boxes(entries: Sequence[Mapping[str, Any]]) -> np.ndarray:
    return np.array([each["bbox"] for each in entries], dtype=np.float64).reshape(-1, 4)
