"""Examples of what a rule has found, from masks over images or objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from detbox.checking.rules import Found, Place, Severity
from detbox.checking.subject import Part
from detbox.messages import counted

MOST = 20
"""examples that are kept"""


def objects_where(
    part: Part,
    hit: np.ndarray,
    what: Callable[[int], str],
    note: Callable[[int], str] = lambda _: "",
    severity: Severity | None = None,
) -> Iterator[Found]:
    """What there is where `hit` is True, (A,), or nothing; pictures of two splits tell it once.

    Args:
        part: of these objects.
        hit: which of them.
        what: number of them -> what they are.
        note: position of an object -> what is special about it.
        severity: None: that of the rule.
    """
    own = part.owners

    def place(at: int) -> Place:
        return Place(part.name, int(own[at]), (at,), note(at))

    yield from _told(part, hit & part.own[own], place, what, severity)


def images_where(
    part: Part,
    hit: np.ndarray,
    what: Callable[[int], str],
    note: Callable[[int], str] = lambda _: "",
    severity: Severity | None = None,
) -> Iterator[Found]:
    """The same for images, (N,)."""

    def place(at: int) -> Place:
        return Place(part.name, at, (), note(at))

    yield from _told(part, hit & part.own, place, what, severity)


def _told(
    part: Part,
    hit: np.ndarray,
    place: Callable[[int], Place],
    what: Callable[[int], str],
    severity: Severity | None,
) -> Iterator[Found]:
    positions = np.flatnonzero(hit).tolist()
    if positions:
        places = [place(at) for at in positions[:MOST]]
        yield Found(what(len(positions)), len(positions), part.name, places, severity)


def them(noun: str, rest: str) -> Callable[[int], str]:
    """`2 boxes without an area`, of a noun and what comes behind it."""
    return lambda number: f"{counted(number, noun)} {rest}"


def share(number: int, total: int) -> str:
    """`12 %`, or with a digit behind the point where that is less than 10."""
    percent = 100 * number / max(total, 1)
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.2g} %"
