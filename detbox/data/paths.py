"""Which settings of a data set are paths or names of classes: their types say so."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

from detbox.arranging.naming import NAMES
from detbox.places import located
from detbox.registry import DATA

_OWN, _INSIDE, _WITH_FOLDER, _FILE = "own path", "path inside", "of the folder", "a file"

OwnPath: TypeAlias = Annotated[str | tuple[str, ...] | None, _OWN]
"""a path, such as that of the whole folder, or several"""
InsidePath: TypeAlias = Annotated[str | None, _INSIDE]
"""a path relative to the data set's own one, where that is set"""
OfFolder: TypeAlias = Annotated[str | None, _WITH_FOLDER]
"""what is true of one folder and not of another, such as its format"""


OwnFile: TypeAlias = Annotated[str | None, _FILE]
"""a file or folder of the person's, wherever the data lie"""


def several(paths: str | Sequence[str] | None) -> list[str]:
    """The paths that a setting names, none or one or more."""
    if paths is None:
        return []
    return list(map(str, paths if _is_list(paths) else [paths]))


def absolute(data: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """The path settings that depend on the working directory, made absolute.

    Args:
        data: settings of a data set, with its `name`.
    """
    own, inside = _marked(data, _OWN), _marked(data, _INSIDE)
    keys = (own if any(data.get(key) for key in own) else inside) + _marked(data, _FILE)
    given = {key: data.get(key) for key in keys}
    return {key: _absolute(path) for key, path in given.items() if path}


def _absolute(paths: str | Sequence[str]) -> str | list[str]:
    found = [str(located(path).absolute()) for path in several(paths)]
    return found if _is_list(paths) else found[0]


def _is_list(paths: Any) -> bool:
    return isinstance(paths, Sequence) and not isinstance(paths, str)


def with_companions(data: Mapping[str, Any], chosen: Iterable[str]) -> set[str]:
    """The settings that change together with the chosen ones: another folder has its own files."""
    chosen = set(chosen)
    others = _marked(data, _INSIDE) + _marked(data, _WITH_FOLDER)
    return chosen | set(others) if chosen & set(_marked(data, _OWN)) else chosen


def names_place(data: Mapping[str, Any], chosen: Iterable[str]) -> bool:
    """Whether one of the chosen settings says where pictures lie."""
    return not set(chosen).isdisjoint(_marked(data, _OWN) + _marked(data, _INSIDE))


def path_settings() -> set[str]:
    """The settings that are paths in any kind of data."""
    return _marked_anywhere(_OWN, _INSIDE, _FILE)


def settings_of_several_paths() -> set[str]:
    """The settings that take a list of paths in any kind of data."""
    return _marked_anywhere(_OWN)


def name_settings() -> set[str]:
    """The settings that are names of classes in any kind of data."""
    return _marked_anywhere(NAMES)


def same_kind(one: str, other: str) -> bool:
    """Whether two kinds of data have the same settings, being two names of one builder."""
    names = DATA.names()
    return one in names and other in names and DATA.builder(one) is DATA.builder(other)


def _marked_anywhere(*marks: str) -> set[str]:
    return {key for mark in marks for name in DATA.names() for key in _marked({"name": name}, mark)}


def _marked(data: Mapping[str, Any], mark: str) -> list[str]:
    """Names of the settings whose types have a mark."""
    builder = DATA.builder(data["name"])
    hints = typing.get_type_hints(builder, include_extras=True)
    return [key for key, hint in hints.items() if mark in getattr(hint, "__metadata__", ())]
