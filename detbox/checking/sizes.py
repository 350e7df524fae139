"""Rules of how many and how large objects are for a detector."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from detbox.checking.places import MOST, images_where, share, them
from detbox.checking.rules import Found, Place, Severity, rule, warning_if
from detbox.checking.subject import Part, Subject
from detbox.messages import counted
from detbox.picturing import shown_scale

USUAL_QUERIES = (300, 900)
"""of DETRs, where no model is chosen"""
STRIDE = 8
"""pixels of the finest level that most DETRs read"""
SMALL = 0.5
"""share of a class's objects below a stride, from which on that is a warning"""
ENOUGH = 20
"""objects of a class, below which shares say little"""


@rule(
    "warning",
    "each query finds one object at most, so the rest is never found, and not even learnt",
    "give model.num_queries=, or cut the pictures into tiles",
)
def more_objects_than_queries(subject: Subject) -> Iterator[Found]:
    """Pictures with more objects than the model has queries, or than usual ones have."""
    limits = USUAL_QUERIES if subject.queries is None else (subject.queries,)
    for part in subject.parts:
        for limit in limits:
            most = int(part.counts.max(initial=0))
            rest = f"with more objects than {limit} queries, up to {most}"
            severity: Severity | None = None if limit == limits[-1] else "note"
            note = partial(_objects, part)
            hit = part.counts > limit
            yield from images_where(part, hit, them("picture", rest), note, severity)


@rule(
    "note",
    "less than a cell of the finest level: found late or never, most of all without pretraining",
    "give larger data.eval_size and data.train_sizes, or cut the pictures into tiles",
)
def objects_below_a_stride(subject: Subject) -> Iterator[Found]:
    """Objects smaller than 8 pixels as training shows the picture, by class."""
    for part in subject.parts:
        learnt, labels = part.split.learnt, part.split.labels
        sides = part.visible[:, 2:] - part.visible[:, :2]
        small = (learnt & part.own[part.owners]) & (
            np.sqrt(sides.prod(1)) * shown_scale(part.split, subject.display) < STRIDE
        )
        if not small.any():
            continue
        names = part.split.label_space.names
        own = np.bincount(labels[small], minlength=len(names))
        shares = own / np.maximum(part.boxes_of_class, 1)
        order = [k for k in np.argsort(-shares, kind="stable").tolist() if own[k]]
        told = [f"{names[k]} {share(int(own[k]), int(part.boxes_of_class[k]))}" for k in order[:5]]
        more = f" and {len(order) - 5} more" if len(order) > 5 else ""
        most = shares[part.boxes_of_class >= ENOUGH].max(initial=0)
        at = np.flatnonzero(small)[:MOST].tolist()
        what = f"{counted(int(small.sum()), 'object')} below {STRIDE} pixels as shown: "
        yield Found(
            what + ", ".join(told) + more,
            int(small.sum()),
            part.name,
            [Place(part.name, int(part.owners[each]), (each,)) for each in at],
            warning_if(most >= SMALL),
        )


def _objects(part: Part, image: int) -> str:
    return counted(int(part.counts[image]), "object")
