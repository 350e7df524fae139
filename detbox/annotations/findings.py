"""What reading has found in a data set: counted, named, with a first example."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from detbox.messages import printable

WITHOUT_AREA = "zero-area boxes dropped"
HIDDEN = "boxes outside the image dropped"
CUT = "boxes clipped to the image"
CROWDS = "crowd regions left out"
BARE = "images without boxes kept"
ABSENT = "image files missing"
"""what `detbox.checking` has rules for"""


class Finding(NamedTuple):
    """One kind of thing that a reader has met."""

    what: str
    """what it is and what was done about it, in the plural"""
    number: int
    example: str
    """the first one"""
    defect: bool = True
    """False: lawful, but a reader of the figures should know"""
    mend: str = ""
    """what to do about it, where that is not plain to see"""

    def __str__(self) -> str:
        """`2 zero-area boxes dropped (first: annotation 10, 0001.png)`, and how to mend defects."""
        text = f"{self.counted} (first: {printable(self.example)})"
        return f"{text}: {printable(self.mend)}" if self.mend and self.defect else text

    @property
    def counted(self) -> str:
        """`1 zero-area box dropped`."""
        return f"{self.number} {_singular(self.what) if self.number == 1 else self.what}"


_ONE = {
    **{"boxes": "box", "images": "image", "annotations": "annotation", "files": "file"},
    **{"entries": "entry", "regions": "region", "objects": "object", "categories": "category"},
    **{"lines": "line", "links": "link", "areas": "area", "outlines": "outline"},
    **{"classes": "class", "shapes": "shape", "rows": "row", "folders": "folder"},
    **{"share": "shares", "serve": "serves", "have": "has"},
}


def _singular(what: str) -> str:
    """Of the first noun, and of a verb behind it."""
    if what.startswith("of "):  # of so many
        return what.replace(" are ", " is ", 1)
    words = what.split(" ")
    nouns = [at for at, word in enumerate(words) if word in _ONE]
    for at in nouns[:1] + [each for each in nouns[1:] if words[each] in ("share", "serve", "have")]:
        words[at] = _ONE[words[at]]
    return " ".join(words)


def found(
    what: str,
    hits: np.ndarray,
    name: Callable[[int], str],
    defect: bool = True,
    mend: str = "",
) -> tuple[Finding, ...]:
    """One finding of the positions that are True, or none; `name` names a position."""
    positions = np.flatnonzero(hits)
    if not len(positions):
        return ()
    return (Finding(what, len(positions), name(int(positions[0])), defect, mend),)
