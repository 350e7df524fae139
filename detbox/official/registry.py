"""Layouts by name: each paper's file registers its own, and so may a plug-in."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

Rules = tuple[tuple[str, tuple[str, ...]], ...]
"""Pattern of the beginning of our names -> beginnings of theirs, the first that matches decides;
`{layer}`: once per decoder layer; `{layers}`: their number, under which some files keep the heads
of the proposals."""


class Layout(NamedTuple):
    """How one code base names the tensors of one model."""

    rules: Rules
    backbone: Callable[[str], str] = "backbone.0.{}".format
    """name of a backbone's tensor below the authors' backbone -> name in the file"""
    short: str = r"(?!)"
    """tensors of ours that lack their last row in the file; no forward pass reads that row"""
    rank: int = 0
    """of layouts that name all tensors of a detector the lowest is written without being asked for;
    of equal ones that with the fewest idle rules, then by name"""

    zero: str = r"(?!)"
    """tensors of ours that a file may lack, and which are zero then"""

    def may_lack(self, name: str) -> bool:
        """Whether files may hold nothing for one of our tensors, which is zero then."""
        return re.match(self.zero, name) is not None

    def is_short(self, name: str) -> bool:
        """Whether files hold one of our tensors without its last row."""
        return re.match(self.short, name) is not None


LAYOUTS: dict[str, Layout] = {}
"""all that are registered; their order says nothing"""


def register_layout(name: str, layout: Layout) -> None:
    """Make a layout known to conversion, by a name of its own.

    Args:
        name: what `to=` of a conversion calls it.
        layout: names of every tensor that a detector has above its backbone.

    Raises:
        KeyError: the name is taken.
    """
    if name in LAYOUTS:
        raise KeyError(f"layout {name!r} is registered already; choose another name")
    LAYOUTS[name] = layout


def in_order(name: str) -> tuple[int, str]:
    """Key by which layouts are sorted where nothing else tells them apart."""
    return LAYOUTS[name].rank, name
