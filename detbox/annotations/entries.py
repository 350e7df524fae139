"""Values of an annotation file's entries: read in every spelling, or refused by place and key."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from detbox.errors import DataError
from detbox.messages import shown

WHOLE = re.compile(r"\s*([+-]?[0-9]{1,40})(?:\.0*)?\s*")
NO, YES = ("", "0", "false", "no"), ("1", "true", "yes")

FARTHEST = 2.0**53
"""beyond it float64 no longer tells whole numbers apart; no coordinate is there"""

Entry = dict[str, Any]
Key = int | str
"""an id: a whole number, or text that is none"""


class Place(NamedTuple):
    """Where an entry stands, for messages."""

    file: Path
    section: str
    position: int
    entry: Entry

    def wrong(self, key: str, expected: str) -> DataError:
        """The error that a value of this entry is not what was expected."""
        named = f" (id {shown(self.entry['id'])})" if "id" in self.entry and key != "id" else ""
        got = f"is {shown(self.entry[key])}" if key in self.entry else "is missing"
        return DataError(
            f"{self.file}: {self.section}[{self.position}]{named}: {key!r} {got}, "
            f"expected {expected}; mend the entry"
        )


def whole(value: object) -> int | None:
    """A whole number as such, as a float or as text; None: it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    match = WHOLE.fullmatch(value) if isinstance(value, str) else None
    return int(match[1]) if match else None


def key_of(value: object) -> Key | None:
    """An id, the same one however it is written; None: no id at all."""
    number = whole(value)
    if number is None and isinstance(value, str) and value.strip():
        return value.strip()
    return number


def keys_of(values: Sequence[Any]) -> Sequence[Key | None]:
    """Many ids; a list of whole numbers is returned as it is."""
    return values if set(map(type, values)) == {int} else [key_of(value) for value in values]


def flags(values: Sequence[Any], places: Iterable[Place]) -> np.ndarray:
    """What says yes or no, (A,) bool; `places` are asked for only where a value is neither.

    Raises:
        DataError: a value says neither.
    """
    if set(map(type, values)) <= {int, bool, type(None)}:
        return np.array(values, dtype=object).astype(bool)
    read = [_flag(value) for value in values]
    for place, flag in zip(places, read, strict=True):
        if flag is None:
            raise place.wrong("iscrowd", "0 or 1")
    return np.array(read, dtype=bool)


def numbers(values: Sequence[Any], length: int | None = None) -> np.ndarray:
    """Numbers, or rows of `length` numbers, as float64; what is none becomes NaN, row by row."""
    shape = (len(values),) if length is None else (len(values), length)
    try:
        found = np.array(values, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        found = np.empty(0)
    if found.shape != shape or len(values) == 0:
        found = np.array([_row(value, length) for value in values], np.float64).reshape(shape)
    return np.where(np.abs(found) <= FARTHEST, found, math.nan)


def _flag(value: object) -> bool | None:
    if isinstance(value, str):
        text = value.strip().lower()
        return False if text in NO else True if text in YES else None
    if value is None or (isinstance(value, int | float) and math.isfinite(value)):
        return bool(value)
    return None


def _row(value: object, length: int | None) -> float | list[float]:
    if length is None:
        return _number(value)
    if isinstance(value, str):
        value = re.split(r"[\s,]+", value.strip(" []()"))
    if not isinstance(value, list) or len(value) != length:
        return [math.nan] * length
    return [_number(each) for each in value]


def _number(value: object) -> float:
    try:
        return float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return math.nan
