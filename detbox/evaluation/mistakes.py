"""What is wrong at one threshold: objects missed, detections too many, classes confused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from detbox.evaluation.pairing import FALSE, IGNORED, Found, Paired, Truth, choose, groups, overlaps


class Mistakes(NamedTuple):
    """The detections that are shown, and what each of them is."""

    truth: Truth
    threshold: float
    found: Found
    """N detections from the threshold up, best first"""
    right: np.ndarray
    """(N,) position of the object of its class; FALSE: none, IGNORED: part of a crowd region"""
    wrong: np.ndarray
    """(N,) position of an object of another class; FALSE: none"""
    missed: np.ndarray
    """(A,) bool: objects that no detection of their class finds"""


class Wrong(NamedTuple):
    """One image."""

    image_id: int
    missed: int
    """objects that are not found with their class"""
    false: int
    """detections that are not of an object of their class"""


def mistakes(paired: Paired, truth: Truth, threshold: float) -> Mistakes:
    """First come the pairs of AP50; then what is left is paired over the classes, best first."""
    shown = paired.found.scores >= threshold
    found, right = paired.found.at(shown), paired.objects[shown]
    missed = ~truth.crowd
    missed[right[right >= 0]] = False
    wrong = np.full(len(right), FALSE)
    spare, left = np.flatnonzero(right == FALSE), np.flatnonzero(missed)
    there = _by_image(truth.images[left])
    for image, own in _by_image(found.images[spare]).items():
        if image in there:
            rows, objects = spare[own], left[there[image]]
            none = np.zeros(len(objects), dtype=bool)
            chosen = choose(overlaps(found.boxes[rows], truth.boxes[objects], none), none)
            wrong[rows] = np.where(chosen >= 0, objects[chosen.clip(0)], FALSE)
    return Mistakes(truth, threshold, found, right, wrong, missed)


def confusion(of: Mistakes, categories: Sequence[int]) -> np.ndarray:
    """How often what was taken for what, (K + 1, K + 1); crowd regions left out.

    Rows are true classes, columns found ones, in the order of the categories, which rise. The last
    row has the detections without an object, the last column the objects without a detection.
    """
    ids = np.asarray(categories)
    kinds = np.append(np.searchsorted(ids, of.truth.categories), len(ids))  # of none: the last
    counted = of.right != IGNORED
    objects = np.where(of.right >= 0, of.right, of.wrong)[counted]
    unseen = of.missed.copy()
    unseen[of.wrong[of.wrong >= 0]] = False
    matrix = np.zeros((len(ids) + 1, len(ids) + 1), dtype=np.int64)
    found = np.searchsorted(ids, of.found.categories)[counted]
    np.add.at(matrix, (kinds[objects], found), 1)
    np.add.at(matrix, (kinds[:-1][unseen], len(ids)), 1)
    return matrix


def worst(of: Mistakes, count: int) -> list[Wrong]:
    """The images with the most mistakes, missed and false ones together.

    Of equals the one with the surest false detection comes first, then the one of the lower id.
    """
    false = of.right == FALSE
    images, place = np.unique(
        np.concatenate((of.truth.images[of.missed], of.found.images[false])), return_inverse=True
    )
    split = int(of.missed.sum())
    missed, wrong = (np.bincount(each, minlength=len(images)) for each in np.split(place, [split]))
    surest = np.zeros(len(images))
    np.maximum.at(surest, place[split:], of.found.scores[false])
    order = np.lexsort((images, -surest, -(missed + wrong)))[:count]
    return [Wrong(int(images[i]), int(missed[i]), int(wrong[i])) for i in order]


def _by_image(images: np.ndarray) -> dict[int, np.ndarray]:
    return {image: own for (image, _), own in groups(images, np.zeros_like(images)).items()}
