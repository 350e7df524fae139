"""Where the libraries of `detbox-ops` lie, and what its set-up said about each."""

from __future__ import annotations

import functools
import importlib.util
import json
from pathlib import Path
from typing import Any

from detbox.errors import MachineError
from detbox.ops.native import NativeKernel

INSTALL = "pip install ./ops"
ACCUMULATES = {"cpu": False, "cuda": True}


def missing(name: str) -> str | None:
    """Why library `name` cannot be used and what mends it; None if it can."""
    found = _find(name)
    return found if isinstance(found, str) else None


def kernel(name: str) -> NativeKernel:
    """Library `name`.

    Raises:
        RuntimeError: says why there is none.
    """
    found = _find(name)
    if isinstance(found, str):
        raise MachineError(f"op={name} cannot run: {found}")
    return found


def build_notes(name: str) -> dict[str, Any]:
    """What the set-up of `detbox-ops` wrote about library `name`; empty if nothing."""
    folder = _folder()
    notes = folder / "build.json" if folder else None
    if notes is None or not notes.is_file():
        return {}
    built: dict[str, dict[str, Any]] = json.loads(notes.read_text(encoding="utf-8"))
    return built.get(name, {})


@functools.cache
def _find(name: str) -> NativeKernel | str:
    folder = _folder()
    if folder is None:
        return f"detbox-ops is not installed; run {INSTALL}"
    notes = build_notes(name)
    if "file" not in notes:
        reason = notes.get("reason", "its set-up left no note")
        return f"detbox-ops was built without {name} ({reason}); then run {INSTALL}"
    try:
        return NativeKernel(folder / notes["file"], accumulates=ACCUMULATES[name])
    except (OSError, AttributeError, RuntimeError) as error:
        return f"the installed detbox-ops cannot be used ({error}); run {INSTALL}"


def _folder() -> Path | None:
    found = importlib.util.find_spec("detbox_ops")
    places = found.submodule_search_locations if found else None
    return Path(next(iter(places))) if places else None
