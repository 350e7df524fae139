"""The settings that name classes, checked before a file of the data is opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeAlias

from detbox.errors import SettingError
from detbox.messages import shown, some

NAMES = "names of classes"
ClassNames: TypeAlias = Annotated[tuple[str, ...], NAMES]
Merges: TypeAlias = Annotated[Mapping[str, str] | tuple[str, ...] | None, NAMES]
"""old name -> new name, as a mapping or as a list of OLD:NEW"""


def class_names(classes: Sequence[str]) -> tuple[str, ...]:
    """`data.classes`, each name once.

    Raises:
        SettingError: one comes twice.
    """
    if twice := [name for name, count in Counter(classes).items() if count > 1]:
        raise SettingError(f"data.classes names {some(twice)} more than once; give each class once")
    return tuple(classes)


def merges(given: Any) -> dict[str, str]:
    """`data.merge`, old name -> new name; empty: nothing is merged.

    Raises:
        SettingError: it is no mapping, or one step is not enough to come from a name to its last.
    """
    pairs = _pairs({} if given is None else given)
    merge = dict(pairs)
    if len(merge) < len(pairs):
        twice = [name for name, count in Counter(old for old, _ in pairs).items() if count > 1]
        raise SettingError(f"data.merge gives {some(twice)} several names; give one")
    for name in merge:
        _check_steps(name, merge)
    return merge


def _pairs(given: Any) -> list[tuple[str, str]]:
    if isinstance(given, Mapping):
        pairs = [(str(old), None if new is None else str(new)) for old, new in given.items()]
    elif _is_list(given) and all(str(each).count(":") == 1 for each in given):
        halves = (str(each).partition(":") for each in given)
        pairs = [(old.strip(), new.strip()) for old, _, new in halves]
    else:
        raise SettingError(
            f"data.merge must be {{OLD:NEW,...}}, names of classes, got {shown(given)}"
        )
    if lacking := [old for old, new in pairs if not old or not new]:
        raise SettingError(
            f"data.merge has no new name for {shown(lacking[0])}; give {{OLD:NEW}}, or leave "
            "classes out with data.classes=[...], which names those that stay"
        )
    return [(old, new) for old, new in pairs if new]


def _is_list(given: Any) -> bool:
    return isinstance(given, Sequence) and not isinstance(given, str)


def _check_steps(name: str, merge: Mapping[str, str]) -> None:
    way = [name, merge[name]]
    while way[-1] in merge and way[-1] not in way[:-1]:
        way.append(merge[way[-1]])
    if len(way) == 2 and name != way[1]:
        return
    told = f"data.merge goes {' -> '.join(way)}"
    if way[-1] in way[:-1]:
        raise SettingError(f"{told}, in a circle; give a name that is not merged itself")
    raise SettingError(f"{told}, in several steps; give {{{name}:{way[-1]},...}} for each of them")
