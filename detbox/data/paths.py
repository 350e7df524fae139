"""Which settings of a data set are paths: their types say so, in the builder's signature."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from detbox.registry import DATA

_OWN, _INSIDE = "own path", "path inside"

OwnPath: TypeAlias = Annotated[str | None, _OWN]
"""a path, such as that of the whole folder"""
InsidePath: TypeAlias = Annotated[str | None, _INSIDE]
"""a path relative to the data set's own one, where that is set"""


def absolute(data: Mapping[str, Any]) -> dict[str, str]:
    """The path settings that depend on the working directory, made absolute.

    Args:
        data: settings of a data set, with its `name`.
    """
    own, inside = _paths(data)
    keys = own if any(data.get(key) for key in own) else inside
    given = {key: data.get(key) for key in keys}
    return {
        key: str(Path(path).expanduser().absolute())
        for key, path in given.items()
        if isinstance(path, str)
    }


def with_companions(data: Mapping[str, Any], chosen: Iterable[str]) -> set[str]:
    """The settings that change together with the chosen ones: another folder has its own files."""
    own, inside = _paths(data)
    chosen = set(chosen)
    return chosen | set(inside) if chosen & set(own) else chosen


def _paths(data: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Names of the own paths, and of those inside."""
    builder = DATA.builder(data["name"])
    hints = typing.get_type_hints(builder, include_extras=True)
    marks = {key: getattr(hint, "__metadata__", ()) for key, hint in hints.items()}
    own, inside = ([key for key in marks if mark in marks[key]] for mark in (_OWN, _INSIDE))
    return own, inside
