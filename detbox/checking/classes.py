"""Rules of classes: numbers that nothing has, shares, splits that differ."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from detbox.annotations.findings import BARE
from detbox.checking.places import images_where, share, them
from detbox.checking.rules import Found, rule, warning_if
from detbox.checking.subject import Subject
from detbox.messages import counted, some

UNEQUAL = 10.0
"""times as many boxes as the rarest class has"""
USUAL = 0.9
"""share of the pictures with objects, from which on a class is expected in each"""
ENOUGH = 20
"""pictures, below which nothing is read into what is usual"""
SPREAD = 10
"""pictures with a class that another split should have as well"""
MOST_HOLES = 10
"""times as many numbers as classes, from which on they count nothing"""
MANY_EMPTY = 0.5
"""share of the pictures"""


@rule(
    "warning",
    "an output of the detector that nothing teaches, and all other classes may be off by one",
    "take it out of the classes, as fix=NEW does",
)
def parent_class(subject: Subject) -> Iterator[Found]:
    """The first or the last class alone has no box: a group (Roboflow's first) or a background."""
    if (name := parent_of(subject)) is not None:
        yield Found(f"1 class without boxes, first or last of the list: {name!r}", 1)


@rule("note", "outputs of the detector that nothing teaches; they cost next to nothing")
def classes_without_boxes(subject: Subject) -> Iterator[Found]:
    """Listed, but nowhere drawn."""
    used, parent = subject.boxes_of_name, parent_of(subject)
    empty = [name for name in subject.names if not used.get(name) and name != parent]
    if empty:
        yield Found(f"{counted(len(empty), 'class')} without boxes: {some(empty)}", len(empty))


@rule("note", "detbox numbers classes anew; code that takes the largest id for their number, not")
def unused_numbers(subject: Subject) -> Iterator[Found]:
    """Ids of classes with holes between them."""
    for part in subject.parts[:1]:
        ids = set(part.split.label_space.category_ids)
        if not ids or max(ids) - min(ids) > MOST_HOLES * len(ids):
            continue
        if holes := sorted(set(range(min(ids), max(ids))) - ids):
            told = some([str(hole) for hole in holes])
            yield Found(f"{counted(len(holes), 'id')} of no class: {told}", len(holes), part.name)


@rule("note", "rare classes are learnt late, and count as much as others in AP")
def unequal_classes(subject: Subject) -> Iterator[Found]:
    """The most frequent class has many times the boxes of the rarest."""
    for part in subject.parts:
        counts, names = part.boxes_of_class, part.split.label_space.names
        used = np.flatnonzero(counts)
        if len(used) < 2 or not part.own.any():
            continue
        most, least = used[counts[used].argmax()], used[counts[used].argmin()]
        if counts[most] >= UNEQUAL * counts[least]:
            told = f"{names[most]} has {share(int(counts[most]), int(counts.sum()))} of the boxes, "
            told += f"{names[least]} {counted(int(counts[least]), 'box')}"
            yield Found(f"unequal classes: {told}", len(used), part.name)


@rule(
    "error",
    "training refuses the pair of splits",
    "make the classes agree (validation may lack some); fix=NEW gives both all of them",
)
def classes_unknown_to_training(subject: Subject) -> Iterator[Found]:
    """Validation lists classes that training does not."""
    if len(subject.parts) == 2:
        train, val = (part.split.label_space for part in subject.parts)
        known = val.labels_in(train)
        lacking = [name for label, name in enumerate(val.names) if label not in known]
        if lacking:
            told = f"{counted(len(lacking), 'class')} that training does not list: {some(lacking)}"
            yield Found(told, len(lacking), subject.parts[1].name)


@rule(
    "note",
    "not learnt, where it is in validation alone; not scored, where it is in training alone",
    "divide the pictures anew, so that each class is on both sides",
)
def classes_of_one_split(subject: Subject) -> Iterator[Found]:
    """A class has boxes in one split alone; a warning where many pictures have it."""
    if len(subject.parts) != 2:
        return
    first, second = subject.parts
    for part, other in ((first, second), (second, first)):
        theirs = other.boxes_of_name
        names = part.split.label_space.names
        alone = [k for k in np.flatnonzero(part.boxes_of_class) if not theirs.get(names[k])]
        if alone:
            told = some([f"{names[k]} ({part.boxes_of_class[k]})" for k in alone])
            severe = any(part.images_of_class[k] >= SPREAD for k in alone)
            what = f"{counted(len(alone), 'class')} with boxes, though none in {other.name}: {told}"
            yield Found(what, len(alone), part.name, severity=warning_if(severe))


@rule(
    "warning",
    "objects that are there but not drawn are learnt as background, and count as false in AP",
    "look at these pictures: were they drawn completely?",
)
def usual_class_missing(subject: Subject) -> Iterator[Found]:
    """A class is in nearly every picture but for a few."""
    for part in subject.parts:
        split = part.split
        drawn = part.counts > 0
        for label in np.flatnonzero(part.images_of_class >= USUAL * max(drawn.sum(), ENOUGH)):
            has = np.zeros(split.num_images, dtype=bool)
            has[part.owners[split.labels == label]] = True
            name = split.label_space.names[label]
            rest = f"without {name}, which {share(int(has.sum()), int(drawn.sum()))} have"
            yield from images_where(part, drawn & ~has, them("picture", rest))


@rule(
    "note",
    "background to learn from; if they were only not drawn yet, their objects are learnt as such",
    covers=(BARE,),
)
def empty_pictures(subject: Subject) -> Iterator[Found]:
    """Pictures without an object; a warning where they are half of all."""
    for part in subject.parts:
        empty = part.counts == 0
        rest = f"without an object, {share(int(empty.sum()), len(empty))} of all"
        many = warning_if(empty.sum() >= MANY_EMPTY * len(empty))
        yield from images_where(part, empty, them("picture", rest), severity=many)


def parent_of(subject: Subject) -> str | None:
    """The class that is a group of the others, by its place in the list; None: there is none."""
    names, used = subject.names, subject.boxes_of_name
    empty = [name for name in names if not used.get(name)]
    ends = {names[0], names[-1]} if len(names) > 1 else set()
    enough = sum(part.split.num_images for part in subject.parts) >= ENOUGH
    return empty[0] if enough and len(empty) == 1 and empty[0] in ends else None
