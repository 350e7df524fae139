"""What entries refer to each other by: ids in every spelling, or names where they are unique."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from detbox.annotations.entries import Key, Place, key_of, keys_of, whole
from detbox.errors import DataError
from detbox.messages import printable, shown, some

LARGEST = 2**63 - 1


class Ids(NamedTuple):
    """The ids of a list's entries."""

    reference: str
    """key of an annotation that refers to them"""
    known: dict[Key, int]
    """id -> position"""
    names: Callable[[], Iterable[tuple[str, int]]]
    """(what an entry is called besides, its position)"""

    def positions(self, values: Sequence[Any]) -> np.ndarray:
        """Of the entries that annotations refer to, (A,); -1: of none."""
        keys = keys_of(values)
        if set(map(type, keys)) == {int} == set(map(type, self.known)):
            with suppress(OverflowError):
                return _looked_up(np.array(keys, np.int64), self.known)
        found = [self.known.get(key, -1) for key in keys]  # type: ignore[arg-type]
        if -1 in found and any(isinstance(key, str) for key in keys):
            called = self._called()
            found = [
                called.get(key, -1) if position < 0 and isinstance(key, str) else position
                for key, position in zip(keys, found, strict=True)
            ]
        return np.array(found, dtype=np.int64)

    def mend(self, values: Sequence[Any], positions: np.ndarray) -> str:
        """Which references are unknown and which are known; empty: all are known."""
        unknown = {shown(values[i]): None for i in np.flatnonzero(positions < 0).tolist()}
        if not unknown:
            return ""
        return f"{self.reference} {some(list(unknown))}, known are {self._listed()}"

    def refuse_shifted(self, values: Sequence[Any], positions: np.ndarray, file: Path) -> None:
        """Annotations that count from another number on than the list does.

        Their unknown ids would be dropped, and all others taken for the next image or class.

        Raises:
            DataError: some ids are unknown, and all are known when one is added or taken away.
        """
        if (positions >= 0).all():
            return
        used = {whole(value) if isinstance(value, int | float | str) else None for value in values}
        for shift in (1, -1):
            if all(number is not None and number + shift in self.known for number in used):
                unknown = sorted({shown(each) for each in used if each not in self.known})
                raise DataError(
                    f"{file}: {self.reference} {some(unknown)} is not among {self._listed()}, but "
                    f"all annotations fit with {shift:+d}: they count from another number; "
                    "renumber one of the two lists"
                )

    def _listed(self) -> str:
        """The known ids, and what is called so."""
        names = {position: printable(name) for name, position in self.names()}
        return some([f"{shown(key)} ({names[at]})" for key, at in self.known.items()])

    def _called(self) -> dict[str, int]:
        """Name -> position, of the names that are one entry's alone."""
        called: dict[str, int] = {}
        for name, position in self.names():
            called[name] = position if called.get(name, position) == position else -1
        return called


def given_keys(places: Sequence[Place]) -> list[Key]:
    """The id of every entry.

    Raises:
        DataError: an entry has none.
    """
    keys: list[Key] = []
    for place in places:
        key = key_of(place.entry.get("id"))
        if key is None:
            raise place.wrong("id", "a whole number or text")
        keys.append(key)
    return keys


def refuse_repeated(keys: Sequence[Key], what: str, places: Sequence[Place]) -> None:
    """Two entries of one id.

    Raises:
        DataError: there are such.
    """
    if len(set(keys)) == len(keys):
        return
    repeated = [key for key, count in Counter(keys).items() if count > 1]
    same = [place.position for place, key in zip(places, keys, strict=True) if key == repeated[0]]
    raise DataError(
        f"{places[0].file}: {what} ids must be unique, {len(repeated)} are repeated (first: "
        f"{shown(repeated[0])} of {places[0].section}[{same[0]}] and [{same[1]}]); renumber them"
    )


def _looked_up(keys: np.ndarray, known: Mapping[Key, int]) -> np.ndarray:
    """The positions of the keys, (A,); -1: not known."""
    ids = np.fromiter(known, np.int64, len(known))
    order = np.argsort(ids)
    nearest = order[np.searchsorted(ids, keys, sorter=order).clip(max=len(ids) - 1)]
    positions = np.fromiter(known.values(), np.int64, len(known))
    return np.where(ids[nearest] == keys, positions[nearest], -1)


def fit_int64(keys: Sequence[Key]) -> bool:
    """Whether all are whole numbers that COCO's tools can hold."""
    return all(isinstance(key, int) and -LARGEST <= key <= LARGEST for key in keys)
