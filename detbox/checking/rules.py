"""The table of rules that look for what would hurt a training, and what each of them gives.

A rule is a function of a `Subject` that gives what it has found. `@rule` puts it into the table,
with how bad that is, what it does to the training of a DETR, and the next step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from detbox.checking.subject import Subject

Severity = Literal["error", "warning", "note"]
"""error: annotations are false, or lost to training; warning: look at it; note: good to know"""
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


class Place(NamedTuple):
    """A picture, and objects in it."""

    split: str
    """name of it"""
    image: int
    """position in the split"""
    objects: tuple[int, ...] = ()
    """positions in the split"""
    note: str = ""
    """what is special about it"""


class Found(NamedTuple):
    """What a rule has found of one kind, in one split or over several."""

    what: str
    """with its number: `2 boxes without an area`"""
    number: int
    split: str = ""
    """empty: of the whole data set"""
    places: Sequence[Place] = ()
    """the first ones"""
    severity: Severity | None = None
    """None: that of the rule"""


Check = Callable[[Subject], Iterator[Found]]


class Rule(NamedTuple):
    """What the table holds."""

    check: Check
    severity: Severity
    harm: str
    """to the training of a DETR"""
    mend: str
    """the next step"""
    covers: tuple[str, ...]
    """findings of reading that this rule says better"""


RULES: dict[str, Rule] = {}


def rule(
    severity: Severity, harm: str, mend: str = "", covers: tuple[str, ...] = ()
) -> Callable[[Check], Check]:
    """Add a function to the table under its name.

    Args:
        severity: of what it finds, unless that says otherwise.
        harm: what it does to the training.
        mend: what to do; empty: nothing needs to be done.
        covers: findings of reading (`Finding.what`) that need not be said again.
    """

    def store(check: Check) -> Check:
        RULES[check.__name__] = Rule(check, severity, harm, mend, covers)
        return check

    return store


def warning_if(bad: bool | np.bool_) -> Severity | None:
    """What a note becomes where it is bad."""
    return "warning" if bad else None
