"""Rules of objects that are there twice."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from detbox.checking.places import objects_where
from detbox.checking.rules import Found, rule
from detbox.checking.subject import Part, Subject
from detbox.messages import counted

TWICE = "one-to-one matching asks for two queries on one object, so it is learnt to be said twice"
SAME = 0.99
"""IoU of boxes that are one box but for rounding"""
ROWS = 256
"""objects of a picture that are compared at once with all of it"""
NEAR = 0.9
"""IoU of boxes of one class that are likely drawn twice"""


@rule(
    "error",
    TWICE,
    "keep one of them; fix=NEW keeps the first",
)
def boxes_twice(subject: Subject) -> Iterator[Found]:
    """The same box of the same class again."""
    for part in subject.parts:
        yield from _pairs_found(part, repeated(part), "the same box and class as another")


@rule(
    "warning",
    TWICE,
    "look at them, and take out one of two where they are one object",
)
def boxes_nearly_twice(subject: Subject) -> Iterator[Found]:
    """Two boxes of a class that hardly differ."""
    for part in subject.parts:
        pairs = alike(part, NEAR)
        labels = part.split.labels
        same = labels[pairs.later] == labels[pairs.first]
        near = pairs.where(same & (pairs.overlap < SAME))
        yield from _pairs_found(part, near, f"of one class with an IoU of {NEAR} or more")


@rule(
    "warning",
    "two queries get the same place with different classes, so each learns half of a doubt",
    "keep the right class, or draw the boxes apart",
)
def boxes_of_two_classes(subject: Subject) -> Iterator[Found]:
    """The same box with another class."""
    for part in subject.parts:
        pairs = alike(part, SAME)
        labels = part.split.labels
        other = pairs.where(labels[pairs.later] != labels[pairs.first])
        yield from _pairs_found(part, other, "the same box as one of another class")


class Pairs:
    """P pairs of objects of a picture whose boxes are alike.

    Args:
        first: (P,) position of the object that comes first.
        later: (P,) and of the other.
        overlap: (P,) IoU.
    """

    def __init__(self, first: np.ndarray, later: np.ndarray, overlap: np.ndarray) -> None:
        self.first, self.later, self.overlap = first, later, overlap

    def where(self, kept: np.ndarray) -> Pairs:
        """Some of them."""
        return Pairs(self.first[kept], self.later[kept], self.overlap[kept])


def alike(part: Part, least: float) -> Pairs:
    """Pairs of objects to learn whose boxes have such an IoU or more, picture by picture."""
    found = [np.zeros((0, 3))]
    for begin, end in pairwise(part.split.starts.tolist()):
        own = begin + np.flatnonzero(part.split.learnt[begin:end])
        for start in range(0, len(own) - 1, ROWS):
            overlaps = _overlaps(part.visible[own[start : start + ROWS]], part.visible[own])
            rows, columns = np.nonzero(np.triu(overlaps, start + 1) >= least)
            if len(rows):
                pairs = (own[start + rows], own[columns], overlaps[rows, columns])
                found.append(np.stack(pairs, 1))
    table = np.concatenate(found)
    return Pairs(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2])


def repeated(part: Part) -> Pairs:
    """Objects that repeat an earlier one, which itself repeats none."""
    pairs = alike(part, SAME)
    pairs = pairs.where(part.split.labels[pairs.first] == part.split.labels[pairs.later])
    gone: set[int] = set()
    kept = np.zeros(len(pairs.first), dtype=bool)
    for at, (first, later) in enumerate(zip(pairs.first, pairs.later, strict=True)):
        if first not in gone and later not in gone:
            gone.add(later)
            kept[at] = True
    return pairs.where(kept)


def _pairs_found(part: Part, pairs: Pairs, rest: str) -> Iterator[Found]:
    hit = np.zeros(len(part.split.labels), dtype=bool)
    hit[pairs.later] = True
    partner = dict(zip(pairs.later.tolist(), pairs.first.tolist(), strict=True))

    def note(at: int) -> str:
        first = partner[at]
        name = part.split.label_space.names[part.split.labels[first]]
        return f"beside annotation {part.split.object_ids[first]}, {name}"

    yield from objects_where(part, hit, lambda number: f"{counted(number, 'box')} {rest}", note)


def _overlaps(ours: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of every two boxes, (S, T), of corners (S, 4) and (T, 4)."""
    low = np.maximum(ours[:, None, :2], others[None, :, :2])
    high = np.minimum(ours[:, None, 2:], others[None, :, 2:])
    shared = (high - low).clip(0).prod(2)
    own, theirs = ((each[:, 2:] - each[:, :2]).prod(1) for each in (ours, others))
    iou: np.ndarray = shared / np.maximum(own[:, None] + theirs - shared, 1e-9)
    return iou
