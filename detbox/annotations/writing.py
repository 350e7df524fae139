"""What a writer of a format is, and a data set as it will be read back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from detbox.annotations.findings import Finding, found
from detbox.annotations.split import Split
from detbox.annotations.unsaid import spoken
from detbox.annotations.written_names import (
    in_plain_classes,
    in_plain_files,
    renamed,
    without_shared_folders,
)

Splits = Mapping[str, Split]
"""by `train` and `val`, or by an empty name where there is one that is not divided"""


class Writer(NamedTuple):
    """How a format's annotations are written; pictures are put beside them by the caller."""

    write: Callable[[Path, Splits], object]
    """(folder that is there, splits as `prepared` gives them) -> files in it"""
    pictures: Callable[[str], str]
    """name of a split -> folder of its pictures below that folder"""
    says: frozenset[str] = frozenset()
    """words of `unsaid.WORDS` that it has, and `names` where these may be any text"""
    classes: Callable[[Splits], dict[str, Split]] = dict
    """the same splits in the classes that the format gives back"""


def prepared(splits: Splits, writer: Writer) -> tuple[dict[str, Split], dict[str, list[Finding]]]:
    """The splits as a format can say them, and by split what it cannot.

    Raises:
        DataError: two classes have one name, and the format has names alone.
    """
    whole = {part: without_shared_folders(split) for part, split in splits.items()}
    ready = dict(whole)
    lost: dict[str, list[Finding]] = {part: [] for part in splits}
    for part, split in whole.items():
        ready[part], findings = spoken(split, writer.says)
        lost[part] += findings
        if "names" not in writer.says:
            ready[part], findings = in_plain_classes(ready[part])
            lost[part] += findings
    named = ready
    ready = writer.classes(named)
    if "names" not in writer.says:
        ready = in_plain_files(ready, {part: writer.pictures(part) for part in ready})
    for part, split in ready.items():
        lost[part] += [*_of_classes(named[part], split), *renamed(whole[part], split)]
    return ready, lost


def _of_classes(old: Split, new: Split) -> tuple[Finding, ...]:
    """Classes that are gone, or have another number or place among the others."""
    before, after = old.label_space, new.label_space
    kept = [name for name in before.names if name in after.names]
    placed = [name for name in after.names if name in before.names]
    gone = np.array([name not in after.names for name in before.names], dtype=bool)
    moved = np.array([one != two for one, two in zip(kept, placed, strict=True)], dtype=bool)
    numbers = dict(zip(after.names, after.category_ids, strict=True))
    pairs = [(n, k) for n, k in zip(before.names, before.category_ids, strict=True) if n in numbers]
    known = set(zip(after.names, after.category_ids, strict=True))
    other = np.array([pair not in known for pair in pairs], dtype=bool)

    def told(at: int) -> str:
        name, number = pairs[at]
        return f"{name} from {number} to {numbers[name]}"

    return (
        *found("classes without objects left out", gone, before.names.__getitem__, defect=False),
        *found("classes numbered anew", other, told, defect=False),
        *found("classes in another order", moved, kept.__getitem__, defect=False),
    )


def short(number: float) -> int | float:
    """A number that is written with the fewest digits that are read back as the same."""
    return int(number) if float(number).is_integer() else float(number)
