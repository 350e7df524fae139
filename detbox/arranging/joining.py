"""Several splits as one: classes joined by their names, images numbered anew."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detbox.annotations.findings import Finding
from detbox.annotations.split import OF_OBJECTS, PackedStrings, Split
from detbox.structures import LabelSpace


def concatenated(splits: Sequence[Split], names: Sequence[str], base: Path) -> Split:
    """The images of all splits, one behind the other.

    Args:
        splits: one at least.
        names: what messages call each.
        base: folder that the names of the files then start from.
    """
    space = joined_space([each.label_space for each in splits])
    label_of = {name: label for label, name in enumerate(space.names)}
    alike = [
        each.in_classes(space, {i: label_of[n] for i, n in enumerate(each.label_space.names)})
        for each in splits
    ]
    whole = stacked(alike, base)
    return whole._replace(
        source=Path(" + ".join(names)),
        image_ids=np.arange(1, whole.num_images + 1),
        object_ids=np.arange(1, len(whole.labels) + 1),
        findings=together([each.findings for each in alike], names),
    )


def stacked(splits: Sequence[Split], base: Path) -> Split:
    """Images and objects of all splits, which have the same classes; all else is the first one's.

    Args:
        splits: one at least.
        base: folder that the names of the files then start from.
    """
    counts = np.concatenate([np.diff(each.starts) for each in splits])
    columns: dict[str, Any] = {
        key: np.concatenate([getattr(each, key) for each in splits])
        for key in (*OF_OBJECTS, "image_ids", "sizes")
    }
    return splits[0]._replace(
        **columns,
        folder=base,
        names=PackedStrings([name for each in splits for name in _names(each, base)]),
        starts=np.cumsum([0, *counts]),
    )


def joined_space(spaces: Sequence[LabelSpace]) -> LabelSpace:
    """All classes in the order in which they come, each name once.

    The id of a class is that of where it comes first, or the next one above all where it is taken.
    """
    ids: dict[str, int] = {}
    taken: set[int] = set()
    for space in spaces:
        for name, number in zip(space.names, space.category_ids, strict=True):
            if name not in ids:
                ids[name] = max(taken) + 1 if number in taken else number
                taken.add(ids[name])
    return LabelSpace(tuple(ids), tuple(ids.values()))


def together(found: Sequence[tuple[Finding, ...]], names: Sequence[str]) -> tuple[Finding, ...]:
    """The findings of several splits, those of a kind added up; an example says where it is."""
    kinds: dict[tuple[str, bool, str], Finding] = {}
    for findings, name in zip(found, names, strict=True):
        for each in findings:
            kind = (each.what, each.defect, each.mend)
            if kind in kinds:
                kinds[kind] = kinds[kind]._replace(number=kinds[kind].number + each.number)
            else:
                kinds[kind] = each._replace(example=f"{each.example} in {name}")
    return tuple(kinds.values())


def _names(split: Split, base: Path) -> list[str]:
    """Relative to another folder; as they are on the disk where that does not hold them."""
    inside = split.folder.is_relative_to(base)
    prefix = split.folder.relative_to(base).as_posix() if inside else split.folder.as_posix()
    names = (split.names[index] for index in range(split.num_images))
    return [os.path.join(prefix, name) if prefix != "." else name for name in names]
