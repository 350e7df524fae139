"""Which classes are learnt, in which order, and which of them count as one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from detbox.annotations.findings import found
from detbox.annotations.packing import with_findings
from detbox.annotations.split import Split
from detbox.arranging import Read
from detbox.errors import DataError
from detbox.messages import near, printable, some
from detbox.structures import LabelSpace


def in_classes(read: Read, keep: Sequence[str], merge: Mapping[str, str]) -> Read:
    """With some classes merged into others, and then with the chosen ones alone.

    Training has to have all that are named; validation may lack some, as it may without a choice.

    Args:
        read: gives the splits.
        keep: names, in the order of the labels; empty: all classes as they are.
        merge: old name -> new name.
    """
    if not keep and not merge:
        return read

    def arranged(part: str) -> Split | None:
        split = read(part)
        if split is None:
            return None
        if part == "train":
            _check_known("data.merge", merge, split)
        split = merged(split, merge) if merge else split
        if part == "train":
            _check_known("data.classes", keep, split, merge)
        return chosen(split, keep) if keep else split

    return arranged


def name_learnt(name: str, keep: Sequence[str], merge: Mapping[str, str]) -> str | None:
    """What a class of a file is called in the end; None: its objects are left out."""
    name = merge.get(name, name)
    return name if not keep or name in keep else None


def merged(split: Split, merge: Mapping[str, str]) -> Split:
    """With every object of an old name under the new one.

    A new name that is a class already keeps its place and id; else it takes those of the first
    class that goes into it.

    Args:
        split: any.
        merge: old name -> new name; those that the split does not have count for nothing.
    """
    space = split.label_space
    renamed = [merge.get(name, name) for name in space.names]
    place: dict[str, int] = {}
    for label, name in enumerate(renamed):
        if name not in place or space.names[place[name]] != name == space.names[label]:
            place[name] = label
    names = sorted(place, key=place.__getitem__)
    label_of = {name: label for label, name in enumerate(names)}
    joined = LabelSpace(tuple(names), tuple(space.category_ids[place[name]] for name in names))
    moved = np.array([name in merge for name in space.names], dtype=bool)[split.labels]
    told = some([f"{old} as {merge[old]}" for old in space.names if old in merge])
    return with_findings(
        split.in_classes(joined, {own: label_of[name] for own, name in enumerate(renamed)}),
        *found(f"boxes under another name, {told}", moved, _image_of(split), defect=False),
    )


def chosen(split: Split, keep: Sequence[str]) -> Split:
    """With those classes alone that are named, in that order, as far as they are there.

    An image that has no other objects stays, as background.

    Raises:
        DataError: none of them is there.
    """
    space = split.label_space
    there = {name: label for label, name in reversed(list(enumerate(space.names)))}
    names = tuple(name for name in keep if name in there)
    if not names:
        raise DataError(
            f"{split.source} has none of data.classes, {some(keep)}; it has {some(space.names)}"
        )
    label_of = {name: label for label, name in enumerate(names)}
    labels = {own: label_of.get(name, -1) for own, name in enumerate(space.names)}
    stays = np.array(list(labels.values()))[split.labels] >= 0
    left = split.of_objects(stays)
    emptied = (np.diff(split.starts) > 0) & (np.diff(left.starts) == 0)
    what = "images without another box kept as background"
    return with_findings(
        left.in_classes(
            LabelSpace(names, tuple(space.category_ids[there[n]] for n in names)), labels
        ),
        *found("boxes of other classes left out", ~stays, _image_of(split), defect=False),
        *found(what, emptied, split.names.__getitem__, defect=False),
    )


def _check_known(
    setting: str, names: Collection[str], split: Split, gone: Mapping[str, str] | None = None
) -> None:
    """Refuse a name that a split lacks.

    Raises:
        DataError: says the nearest names, or what it was merged into.
    """
    known = split.label_space.names
    for name in names:
        if name in known:
            continue
        told = f"{setting}: {split.source} has no class {name!r}"
        if gone and name in gone:
            raise DataError(f"{told} any more, which data.merge calls {gone[name]!r}; name that")
        raise DataError(printable(told) + near(name, known))


def _image_of(split: Split) -> Callable[[int], str]:
    """Names the image of an object."""
    owners = split.owners()
    return lambda position: split.names[int(owners[position])]
