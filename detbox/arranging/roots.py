"""`data.root=[A,B]`: what several folders give, each in its own format, as one data set."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

from detbox.annotations.findings import Finding
from detbox.annotations.packing import with_findings
from detbox.annotations.split import Split
from detbox.arranging import Read
from detbox.arranging.joining import concatenated
from detbox.errors import SettingError
from detbox.messages import counted
from detbox.places import located

NUMBERED = "images numbered from 1 on through all folders, in detections.json too"
UNMARKED = "where that one shows such objects without boxes, they are learnt as background"


Called = Callable[[str], str | None]
"""name of a class in a folder -> as which it is learnt; None: not at all"""


def joined(roots: Sequence[str], read_of: Callable[[str], Read], called: Called) -> Read:
    """One split out of those that several folders have.

    Args:
        roots: the folders.
        read_of: folder -> what reads its splits.
        called: what becomes of classes later, for what is said of them here.

    Raises:
        SettingError: a folder comes twice, or lies in another.
    """
    places = [located(root).absolute() for root in roots]
    _check_apart(places)
    names, base = _names(places), Path(os.path.commonpath(places))
    reads = dict(zip(names, map(read_of, roots), strict=True))

    def read(part: str) -> Split | None:
        every = {name: each(part) for name, each in reads.items()}
        splits = {name: split for name, split in every.items() if split is not None}
        if not splits:
            return None
        lacking = [name for name in names if name not in splits]
        whole = concatenated(list(splits.values()), list(splits), base)
        found = [
            Finding(NUMBERED, whole.num_images, whole.names[0], defect=False),
            *_some(f"folders without a {part} split", lacking, defect=False),
            *(_differences(splits, called) if part == "train" else []),
        ]
        return with_findings(whole._replace(found_as=_found_as(splits)), *found)

    return read


def _differences(splits: Mapping[str, Split], called: Called) -> list[Finding]:
    """Classes that not every folder has, and those that only seem to be several."""
    listed = {
        folder: {name for each in split.label_space.names if (name := called(each))}
        for folder, split in splits.items()
    }
    absent = {
        name: f"{name}, not in {folder}"
        for (_, ours), (folder, theirs) in permutations(listed.items(), 2)
        for name in sorted(ours - theirs)
    }
    spelled: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(set().union(*listed.values())):
        spelled[re.sub(r"[\s_-]+", "", name.casefold())].append(name)
    alike = [" and ".join(names) for names in spelled.values() if len(names) > 1]
    what = "classes with the name of another one but for letter case, spaces and dashes"
    return [
        *_some("classes that not every folder has", list(absent.values()), mend=UNMARKED),
        *_some(what, alike, mend="data.merge={OLD:NEW} joins them"),
    ]


def _some(what: str, examples: Sequence[str], **more: Any) -> list[Finding]:
    return [Finding(what, len(examples), examples[0], **more)] if examples else []


def _found_as(splits: Mapping[str, Split]) -> str:
    each = [
        ", ".join(filter(None, (f"{name}: {counted(split.num_images, 'image')}", split.found_as)))
        for name, split in splits.items()
    ]
    more = [f"{len(each) - 4} more"] if len(each) > 4 else []
    return "; ".join(each[:4] + more)


def _names(roots: Sequence[Path]) -> list[str]:
    """Names of folders, with that of the folder above where they are alike."""
    names = [root.name for root in roots]
    return [
        f"{root.name} in {root.parent.name}" if names.count(root.name) > 1 else root.name
        for root in roots
    ]


def _check_apart(roots: Sequence[Path]) -> None:
    for one, other in permutations(roots, 2):
        inner, outer = (Path(os.path.realpath(each)) for each in (one, other))
        if inner.is_relative_to(outer):
            where = "is" if inner == outer else "lies in"
            raise SettingError(
                f"data.root: {one} {where} {other}, so its pictures would come twice; give "
                "folders beside each other, each once"
            )
