"""Names of classes and pictures as every format can hold them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from detbox.annotations.findings import Finding, found
from detbox.annotations.listing import PICTURES
from detbox.annotations.split import PackedStrings, Split
from detbox.errors import DataError
from detbox.messages import shown
from detbox.places import unique_names
from detbox.structures import LabelSpace

UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
"""characters that XML or a line of text cannot hold"""
PARTING = re.compile(r"\\|%(00|2f|5c)", re.IGNORECASE)
"""what readers may take for the end of a folder's name"""


def in_plain_classes(split: Split) -> tuple[Split, tuple[Finding, ...]]:
    """With names of classes that are one line of text each.

    Raises:
        DataError: two classes have one name, which only COCO's numbers tell apart.
    """
    names = split.label_space.names
    plain = [" ".join(UNFIT.sub("_", name).split()) or "no name" for name in names]
    if twice := [name for name in plain if plain.count(name) > 1]:
        raise DataError(
            f"{split.source}: {plain.count(twice[0])} classes are called {shown(twice[0])}, which "
            "only COCO can tell apart; rename them, or give to=coco"
        )
    other = np.array([one != old for one, old in zip(plain, names, strict=True)])
    told = found("classes renamed", other, lambda at: f"{names[at]} as {plain[at]}", defect=False)
    space = LabelSpace(tuple(plain), split.label_space.category_ids)
    return split._replace(label_space=space), told


def in_one_space(splits: Mapping[str, Split]) -> dict[str, Split]:
    """All splits in the classes of the first, and behind them those that only others have."""
    known: dict[str, int] = {}
    for split in splits.values():
        space = split.label_space
        for name, number in zip(space.names, space.category_ids, strict=True):
            taken = number in known.values()
            known.setdefault(name, max(known.values()) + 1 if taken else number)
    whole = LabelSpace(tuple(known), tuple(known.values()))
    return {part: in_space(split, whole) for part, split in splits.items()}


def in_space(split: Split, space: LabelSpace) -> Split:
    """The split in a space that has all names of its own, or of its objects."""
    of_name = {name: label for label, name in enumerate(space.names)}
    names = split.label_space.names
    return split.in_classes(space, {own: of_name.get(name, -1) for own, name in enumerate(names)})


def without_shared_folders(split: Split) -> Split:
    """Pictures called from the innermost folder on that has all of them."""
    names = [split.names[index] for index in range(split.num_images)]
    shared = os.path.commonpath([os.path.dirname(name) for name in names]) if names else ""
    return _called(split, [os.path.relpath(name, shared) for name in names] if shared else names)


def in_plain_files(splits: Mapping[str, Split], folder: Mapping[str, str]) -> dict[str, Split]:
    """Pictures under names without folders that no other of the same folder has, but for a suffix.

    Args:
        splits: by their names.
        folder: of each split.
    """
    named: dict[str, Split] = {}
    for place in dict.fromkeys(folder.values()):
        parts = [part for part in splits if folder[part] == place]
        files = [Path(_plain(name)) for part in parts for name in _names(splits[part])]
        stems = unique_names(files, "")
        for part in parts:
            count = splits[part].num_images
            own = [stem + file.suffix for stem, file in zip(stems[:count], files, strict=False)]
            named[part], stems, files = _called(splits[part], own), stems[count:], files[count:]
    return named


def renamed(old: Split, new: Split) -> tuple[Finding, ...]:
    """The pictures that are called otherwise than they were."""
    pairs = list(zip(_names(old), _names(new), strict=True))
    other = np.array([one != two for one, two in pairs], dtype=bool)
    return found("images renamed", other, lambda at: " as ".join(pairs[at]), defect=False)


def _names(split: Split) -> list[str]:
    return [split.names[index] for index in range(split.num_images)]


def _called(split: Split, names: Sequence[str]) -> Split:
    return split._replace(names=PackedStrings(names))


def _plain(name: str) -> str:
    """The last part of a path, with the suffix of a picture and no other one."""
    text = PARTING.sub("_", UNFIT.sub("_", PurePosixPath(name).name)).strip().lstrip(".")
    stem, suffix = os.path.splitext(text) if PICTURES.search(text) else (text, ".jpg")
    while PICTURES.search(stem):
        stem = "_".join(stem.rsplit(".", 1))
    return f"{stem or '_'}{suffix}"
