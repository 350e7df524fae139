"""The rule of names that seem to be of one class, and the setting that joins them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from detbox.checking.rules import Found, rule
from detbox.checking.subject import Subject
from detbox.messages import counted, some

RARE = 0.1
"""share of another class' boxes, below which a name may be a slip of it"""
SHORT, LONG = 3, 6
"""letters from which on one slip makes no other name, and two do not"""


@rule("warning", "one thing is taught as two classes", "give them one name")
def names_alike(subject: Subject) -> Iterator[Found]:
    """Names that differ in letter case, spaces or signs, or in a letter or two if one is rare."""
    boxes = subject.boxes_of_name
    if meant := likely_meant(boxes):
        told = some(
            [f"{a!r} ({counted(boxes[a], 'box')}) and {b!r} ({boxes[b]})" for a, b in meant.items()]
        )
        joined = f"; {typed} joins them" if (typed := merging(meant)) else ""
        what = f"{counted(len(meant), 'class')} with nearly the name of another: {told}{joined}"
        yield Found(what, len(meant))


def likely_meant(boxes: Mapping[str, int]) -> dict[str, str]:
    """Name -> the name with more boxes that it may be a slip of.

    Args:
        boxes: name -> number of them.
    """
    meant: dict[str, str] = {}
    before: list[tuple[str, _Spelled]] = []
    for name in sorted(boxes, key=lambda each: -boxes[each]):
        own = _Spelled.of(name)
        for other, theirs in before:
            rare = 0 < boxes[name] < RARE * boxes[other]
            if own.plain and (own.plain == theirs.plain or (rare and own.is_slip_of(theirs))):
                meant[name] = meant.get(other, other)
                break
        before.append((name, own))
    return meant


class _Spelled(NamedTuple):
    """A name as it is compared."""

    plain: str
    """without letter case, spaces and signs"""
    digits: str
    letters: int
    """a bit for each of them, for a first look"""

    @classmethod
    def of(cls, name: str) -> _Spelled:
        plain = re.sub(r"[\W_]", "", name.casefold())
        bits = {1 << ord(letter) % 64 for letter in plain}
        return cls(plain, re.sub(r"\D", "", plain), sum(bits))

    def is_slip_of(self, other: _Spelled) -> bool:
        """Whether a letter or two make the difference; M3 and M4 are no slips."""
        least = min(len(self.plain), len(other.plain))
        most = (least >= SHORT) + (least >= LONG)
        differ = (self.letters ^ other.letters).bit_count()
        if self.digits != other.digits or differ > most:
            return False
        return slips(self.plain, other.plain) <= most


def slips(one: str, other: str) -> int:
    """Letters put in, left out, or swapped with the next; one for another is two (WBC, RBC)."""
    rows = [list(range(len(other) + 1))]
    for i, a in enumerate(one):
        row, above = [i + 1], rows[-1]
        for j, b in enumerate(other):
            row.append(min(above[j + 1] + 1, row[j] + 1, above[j] + 2 * (a != b)))
            if i and j and one[i - 1] == b and other[j - 1] == a:
                row[-1] = min(row[-1], rows[-2][j - 1] + 1)
        rows.append(row)
    return rows[-1][-1]


def merging(meant: Mapping[str, str]) -> str:
    """`data.merge={OLD:NEW}` as a shell takes it; empty where a name cannot be typed there."""
    if not all(map(_is_typable, (*meant, *meant.values()))):
        return ""
    pairs = ",".join(f"{_typed(old)}:{_typed(new)}" for old, new in meant.items())
    return shlex.quote(f"data.merge={{{pairs}}}")


def _is_typable(name: str) -> bool:
    return name == name.strip() and name.isprintable() and not re.search(r"[:\\\"]", name)


def _typed(name: str) -> str:
    return name if re.fullmatch(r"\w+(?:[ -]\w+)*", name) else f'"{name}"'
