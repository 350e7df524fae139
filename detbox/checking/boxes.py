"""Rules of single boxes: without an area, outside of the picture, of odd shapes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from detbox.annotations.findings import CROWDS, CUT, HIDDEN, WITHOUT_AREA
from detbox.annotations.packing import CLIP_TOLERANCE
from detbox.checking.places import objects_where, share, them
from detbox.checking.rules import Found, rule, warning_if
from detbox.checking.subject import Subject
from detbox.picturing import shown_scale

LOST = "the object is left out, and its place is learnt as background"
DRAW = "draw them again; fix=NEW leaves them out"
THIN = 1.0
"""pixels of the shown picture; a box below has hardly an area to learn"""
LONG = 20.0
"""times as long as wide, from which on a box is odd"""
MANY_CROWDS = 0.1
"""share of the objects"""


@rule("error", LOST, DRAW, (WITHOUT_AREA,))
def boxes_without_area(subject: Subject) -> Iterator[Found]:
    """Width or height is 0 or less: often a click, or two corners that are the same."""
    for part in subject.parts:
        yield from objects_where(part, part.without_area, them("box", "without an area"))


@rule("error", LOST, DRAW, (HIDDEN,))
def boxes_outside(subject: Subject) -> Iterator[Found]:
    """Nothing of a box lies in its picture: of another picture, or of another size of it."""
    for part in subject.parts:
        yield from objects_where(part, part.outside, them("box", "outside of the picture"))


@rule(
    "warning",
    "the part inside is learnt; if boxes were drawn on another size, all of them are shifted",
    "look at some, and draw them again if all are shifted; fix=NEW cuts them off",
    (CUT,),
)
def boxes_past_the_edge(subject: Subject) -> Iterator[Found]:
    """A box reaches out of its picture."""
    for part in subject.parts:
        over = np.abs(part.corners - part.visible).max(1, initial=0)
        inside = part.split.learnt & ~part.outside

        def note(at: int, over: np.ndarray = over) -> str:
            return f"by {over[at]:.4g} pixels"

        hit = inside & (over > CLIP_TOLERANCE)
        yield from objects_where(part, hit, them("box", "past the edge of the picture"), note)


@rule(
    "warning",
    "GIoU and L1 of so thin a box say next to nothing, and the loss of the picture gets noisy",
    "look whether they are slips of the hand",
)
def thin_boxes(subject: Subject) -> Iterator[Found]:
    """A side of less than a pixel, as training shows the picture."""
    for part in subject.parts:
        sides = part.visible[:, 2:] - part.visible[:, :2]
        least = (sides * shown_scale(part.split, subject.display)[:, None]).min(1, initial=np.inf)
        hit = part.split.learnt & (least < THIN)
        yield from objects_where(part, hit, them("box", "less than a pixel thin"))


@rule("note", "boxes of such shapes are found late, if there are few of them")
def long_boxes(subject: Subject) -> Iterator[Found]:
    """A box many times as long as wide."""
    for part in subject.parts:
        sides = part.split.boxes[:, 2:].clip(1e-9)
        ratio = sides.max(1, initial=0) / sides.min(1, initial=np.inf)

        def note(at: int, ratio: np.ndarray = ratio) -> str:
            return f"{ratio[at]:.0f} times"

        what = them("box", f"more than {LONG:.0f} times as long as wide")
        yield from objects_where(part, part.split.learnt & (ratio > LONG), what, note)


@rule(
    "note",
    "they are neither learnt nor scored, and what is in them is learnt as background",
    covers=(CROWDS,),
)
def crowd_regions(subject: Subject) -> Iterator[Found]:
    """Regions of many objects (`iscrowd`), which DETRs leave out."""
    for part in subject.parts:
        crowd = part.split.crowd
        many = crowd.sum() > MANY_CROWDS * max(len(crowd), 1)
        rest = f"marked as crowds, {share(int(crowd.sum()), len(crowd))} of the objects"
        yield from objects_where(part, crowd, them("region", rest), severity=warning_if(many))
