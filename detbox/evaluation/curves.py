"""Precision over recall of every class at IoU 0.5, and the score that is the best threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from detbox.evaluation.metrics import UNDEFINED
from detbox.evaluation.pairing import IGNORED, Paired, Truth

RECALLS = np.linspace(0, 1, 101)
"""at which COCO reads a curve"""


class Curve(NamedTuple):
    """One class."""

    precision: np.ndarray
    """(101,) the highest at this recall or a higher one; 0 beyond what is reached, and UNDEFINED
    where the class has no object"""
    scores: np.ndarray
    """(101,) of the detection that reaches the recall; 0 beyond"""


def curves(paired: Paired, truth: Truth, categories: Sequence[int]) -> list[Curve]:
    """The curve of each category, by its id; their mean precision is AP50."""
    kept = paired.objects != IGNORED
    found, hits = paired.found.at(kept), paired.objects[kept] >= 0
    wanted = truth.categories[~truth.crowd]
    return [
        _curve(hits[own], found.scores[own], int((wanted == each).sum()))
        for each in categories
        for own in [found.categories == each]
    ]


def best_threshold(paired: Paired, truth: Truth) -> float:
    """The score above which F1 over all classes together is highest; 0.5 where nothing is found."""
    kept = paired.objects != IGNORED
    scores, hits = paired.found.scores[kept], (paired.objects[kept] >= 0).cumsum()
    if not len(scores):
        return 0.5
    shown = np.arange(1, len(scores) + 1)
    f1 = 2 * hits / (shown + (~truth.crowd).sum())
    last = np.append(scores[1:] < scores[:-1], True)  # equal scores are shown together
    return float(scores[np.where(last, f1, -1.0).argmax()])


def _curve(hits: np.ndarray, scores: np.ndarray, objects: int) -> Curve:
    if not objects:
        return Curve(np.full(len(RECALLS), UNDEFINED), np.zeros(len(RECALLS)))
    found = hits.cumsum()
    precision = found / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(found / objects, RECALLS)
    return Curve(np.append(precision, 0.0)[place], np.append(scores, 0.0)[place])
