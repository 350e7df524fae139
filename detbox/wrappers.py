"""Tensors in files of other trainings: found by search, averaged weights (EMA) first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from detbox.messages import some

AVERAGED = re.compile(r"(^|_)(ema|averaged|swa)(_|$)", re.IGNORECASE)
"""keys and first parts of names under which trainings keep averaged weights"""
USUAL = ("state_dict", "model", "module", "teacher", "detector", "network", "net")
"""other keys that trainings use, in the order in which they are believed"""
PREFIXES = ("module", "model", "_orig_mod", "detector")
"""first parts of names that wrappers of a model add: DataParallel, Lightning, torch.compile"""
DEPTH = 4
"""how many dictionaries deep tensors are looked for"""


class Stored(NamedTuple):
    """The tensors of one model in a file, and where they were."""

    tensors: dict[str, Tensor]
    """by their names without the prefix; empty where the file has none"""
    place: str = ""
    """keys that lead to them, `ema.module`; empty where they lie open"""
    prefix: str = ""
    """what stood before each name, `module.`"""
    left: tuple[str, ...] = ()
    """other places, or other parts of the same names, with tensors"""

    @property
    def named(self) -> dict[str, Tensor]:
        """By their names in the file."""
        return {self.prefix + name: tensor for name, tensor in self.tensors.items()}

    def __str__(self) -> str:
        """One line, for the log."""
        told = f"weights from {self.place!r}" if self.place else "weights"
        told += f", prefix {self.prefix!r} taken off" if self.prefix else ""
        return told + (f"; {some([repr(each) for each in self.left])} left" if self.left else "")


def find_tensors(content: Any) -> Stored:
    """The model in what a file holds, out of wrappers nested in any order.

    Places with less than half of the most tensors, such as an optimizer's state, do not compete;
    of the others averaged weights go first, then the usual keys, then the most tensors.
    """
    places = dict(_places(content))
    if not places:
        return Stored({})
    keys = _choice({keys: len(each) for keys, each in places.items()})
    tensors, prefix, beside = places[keys], "", []
    while chosen := _prefix(tensors):
        others = (name.partition(".")[0] for name in tensors if not name.startswith(f"{chosen}."))
        beside += [prefix + other for other in dict.fromkeys(others)]
        prefix += f"{chosen}."
        tensors = {n.partition(".")[2]: t for n, t in tensors.items() if n.startswith(f"{chosen}.")}
    places_left = (".".join(place) for place in places if place != keys)
    return Stored(tensors, ".".join(keys), prefix, (*places_left, *beside))


def _places(content: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every dictionary of named tensors, by the keys that lead to it."""
    items = content.items() if isinstance(content, Mapping) else ()
    named = {key: value for key, value in items if isinstance(key, str)}
    tensors = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    if tensors:
        yield keys, tensors
    if len(keys) < DEPTH:
        for key, value in named.items():
            yield from _places(value, (*keys, key))


def _prefix(names: Collection[str]) -> str:
    """The wrapper's part that most names begin with, or none."""
    (chosen,) = _choice({(part,): count for part, count in _parts(names).items()} or {("",): 0})
    return chosen if chosen in PREFIXES or AVERAGED.search(chosen) else ""


def _parts(names: Collection[str]) -> Counter[str]:
    """How many names begin with each part that a dot ends, and with none ("")."""
    return Counter(name.partition(".")[0] if "." in name else "" for name in names)


def _choice(counts: Mapping[tuple[str, ...], int]) -> tuple[str, ...]:
    competing = [keys for keys, count in counts.items() if 2 * count >= max(counts.values())]
    return min(competing, key=lambda keys: (*_rank(keys), -counts[keys]))


def _rank(keys: tuple[str, ...]) -> tuple[bool, int]:
    """Averaged ones first, then by the most usual of the keys."""
    known = (USUAL.index(key) for key in keys if key in USUAL)
    return not any(AVERAGED.search(key) for key in keys), min(known, default=len(USUAL))
