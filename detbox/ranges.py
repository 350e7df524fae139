"""Which numbers a setting takes, said where its type is said: `lr: Positive = 1e-4`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from detbox.errors import SettingError


@dataclass(frozen=True)
class Range:
    """Finite numbers from `low` to `high`."""

    low: float = -math.inf
    high: float = math.inf
    beyond_low: bool = False
    """True: `low` itself is not taken"""
    below_high: bool = False
    """True: `high` itself is not taken"""
    beside: float | None = None
    """one number outside that has a meaning of its own"""

    def __contains__(self, value: float) -> bool:
        """Whether a number is taken; never one that is infinite or none at all."""
        if not math.isfinite(value):
            return False
        low = value > self.low if self.beyond_low else value >= self.low
        high = value < self.high if self.below_high else value <= self.high
        return (low and high) or value == self.beside

    def __str__(self) -> str:
        """As it follows "must be" in a message."""
        if math.isinf(self.low):
            return "a finite number"
        told = f"above {self.low:g}" if self.beyond_low else f"at least {self.low:g}"
        if math.isfinite(self.high):
            told = told if self.beyond_low else f"from {self.low:g}"
            told += f" to {'below ' if self.below_high else ''}{self.high:g}"
        return told + (f", or {self.beside:g}" if self.beside is not None else "")


Count = Annotated[int, Range(1)]
Several = Annotated[int, Range(2)]
Whole = Annotated[int, Range(0)]
Endless = Annotated[int, Range(1, beside=-1)]
"""a count, or -1 for no end"""
Stages = Annotated[int, Range(-1)]
"""how many, or -1 for all"""
Finite = Annotated[float, Range()]
NonNegative = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, beyond_low=True)]
Share = Annotated[float, Range(0, 1)]
ShareBelowOne = Annotated[float, Range(0, 1, below_high=True)]
ShareWithin = Annotated[float, Range(0, 1, beyond_low=True, below_high=True)]
ShareAboveNone = Annotated[float, Range(0, 1, beyond_low=True)]


def range_in(hint: Any) -> Range | None:
    """The range that a type names, be it of a number, of those of a list or of one that may lack.

    Args:
        hint: with its `Annotated` parts.
    """
    for each in (*getattr(hint, "__metadata__", ()), *map(range_in, get_args(hint))):
        if isinstance(each, Range):
            return each
    return None


def check_range(key: str, value: Any, within: Range | None) -> None:
    """Refuse numbers outside a range, also inside lists and mappings.

    Raises:
        SettingError: there is one.
    """
    for place, number in _numbers(key, value) if within is not None else ():
        if within is not None and number not in within:
            raise SettingError(f"{place} must be {within}, got {number:g}")


def _numbers(key: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _numbers(f"{key}.{name}", each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _numbers(key, each)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield key, value
