"""Which picture is on which side, as a run remembers it in a file."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from detbox.annotations.findings import Finding, found
from detbox.annotations.split import Split
from detbox.errors import DataError, MissingFileError
from detbox.messages import counted, printable, shown

FILE = "division.json"
"""in the folder of a run"""
FORMAT = 1
SHARED = "images serve training and evaluation alike"
"""how what is found in a folder begins that nobody has divided"""
PURPOSE = {"train": "to train on", "val": "to validate"}


class Division(NamedTuple):
    """The names of the pictures on either side."""

    train: frozenset[str]
    val: frozenset[str]
    told: str
    """how it came to be, `by data.val_fraction=0.2`"""

    @classmethod
    def read(cls, path: Path) -> Division:
        """From a file that `write` left, or that a person wrote.

        Raises:
            MissingFileError: there is none.
            DataError: it has no two lists of names, or a name is in both.
        """
        if not path.is_file():
            raise MissingFileError(
                f"data.division={path}: there is no such file; a run that divides its pictures "
                f"leaves {FILE} in its folder"
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"))
            train, val = (_names(content[side]) for side in ("train", "val"))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(
                f'data.division={path}: expected {{"train": [NAME, ...], "val": [NAME, ...]}}, '
                f"got {type(error).__name__} {shown(str(error))}; mend it, or give {FILE} of a run"
            ) from None
        if both := train & val:
            raise DataError(
                f"data.division={path} has {counted(len(both), 'name')} on both sides "
                f"(first: {printable(min(both))}); leave each on one"
            )
        return cls(train, val, str(content.get("told", f"by {path.name}")))

    def write(self, path: Path) -> None:
        """Leave a file that is whole whenever it exists."""
        sides = {"train": sorted(self.train), "val": sorted(self.val)}
        draft = path.with_name(f"{path.name}.tmp")
        content = {"format": FORMAT, "told": self.told, **sides}
        draft.write_text(json.dumps(content, indent=0), encoding="utf-8")
        draft.replace(path)

    def side(self, split: Split, name: str) -> Split:
        """The pictures of a split that are on one side.

        Args:
            split: with pictures of that side; those of the other one, and others, are left out.
            name: `train` or `val`.

        Raises:
            DataError: none of them is there.
        """
        own = self.train if name == "train" else self.val
        names = [split.names[index] for index in range(split.num_images)]
        chosen = [index for index, each in enumerate(names) if each in own]
        if not chosen:
            raise DataError(
                f"{split.source}: none of its {len(names)} images is among the {len(own)} "
                f"{PURPOSE[name]} of the division {self.told}; give data.root of the folder that "
                "was divided, or data.division=null for another one"
            )
        told = f"images of {len(names)} {PURPOSE[name]}, divided {self.told}"
        kept = [each for each in split.findings if _holds(each, name)]
        findings = (Finding(told, len(chosen), names[chosen[0]], defect=False), *kept)
        part = split.of_images(chosen)
        return part._replace(findings=(*findings, *self._changes(names, own)))

    def _changes(self, names: list[str], own: Collection[str]) -> tuple[Finding, ...]:
        """What came to the folder and went since."""
        known, there = self.train | self.val, set(names)
        new = np.array([each not in known for each in names])
        gone = sorted(set(own) - there)
        return (
            *found(
                "images left out that came after the division",
                new,
                names.__getitem__,
                mend="a new run divides them too",
            ),
            *found(
                "images of the division not there any more",
                np.ones(len(gone), bool),
                gone.__getitem__,
                mend="restore them",
            ),
        )


def _holds(finding: Finding, name: str) -> bool:
    """Whether what was found in all pictures is worth saying of a side; notes are said once."""
    return not finding.what.startswith(SHARED) and (finding.defect or name == "train")


def _names(listed: Any) -> frozenset[str]:
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise TypeError("no list of names")
    return frozenset(listed)
