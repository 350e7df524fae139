"""Annotations that take long to read are kept in the cache folder, as long as no file changes.

The processes of a run that start together read them once, and so does the next run.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np

from detbox import ranks
from detbox.annotations.findings import Finding
from detbox.annotations.formats import Format, Source
from detbox.annotations.listing import walk
from detbox.annotations.split import PackedStrings, Split
from detbox.places import cache_folder
from detbox.structures import LabelSpace

LONG = 2.0
"""seconds of reading from which on a split is kept"""


def read_kept(name: str, format: Format, source: Source) -> Split:
    """What a format's reader gives of a source, or has given before."""
    key = hashlib.sha256(repr((name, *source)).encode("utf-8", "surrogatepass")).hexdigest()[:32]
    file = cache_folder() / "annotations" / f"{key}.npz"
    with _turn(file):
        state = _state(source, format)
        if (kept := _kept(file, state)) is not None:
            return kept
        start = time.monotonic()
        split = format.read(source)
        if time.monotonic() - start > LONG:
            _keep(file, split, state)
        return split


def _turn(file: Path) -> AbstractContextManager[Any]:
    """One after the other of processes that start together, where the folder can be written."""
    if not ranks.together():
        return nullcontext()
    from filelock import FileLock

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(f"{file}.lock").acquire()
    except OSError:
        return nullcontext()


def _state(source: Source, format: Format) -> str:
    """Changes when a file does that the reader may look at, or the reader itself."""
    alone = format.documents_alone and not source.split
    places = [source.annotations, *([] if alone else [source.images])]
    digest = hashlib.sha256()
    for place in dict.fromkeys([*_readers(format), *places]):
        for path, state in sorted(_states(place)):
            line = repr((path, state.st_size, state.st_mtime_ns))
            digest.update(line.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _readers(format: Format) -> list[Path]:
    """Source files of this package, and of a plug-in's reader."""
    code = getattr(format.read, "__code__", None)
    own = sorted(Path(__file__).parent.glob("*.py"))
    return own + ([Path(code.co_filename)] if code else [])


def _states(place: Path) -> Iterator[tuple[str, os.stat_result]]:
    if place.is_file():
        yield "", place.stat()
    for path, entry in walk(str(place)):
        with suppress(OSError):
            yield path, entry.stat()


def _kept(file: Path, state: str) -> Split | None:
    """The split of that state; None: there is none."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as kept:
            said = json.loads(str(kept["said"]))
            if said["state"] != state:
                return None
            arrays = {name: kept[name] for name in kept.files if name in Split._fields}
            names = PackedStrings.of(kept["content"].tobytes(), kept["ends"])
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None
    space = LabelSpace(tuple(said["classes"]), tuple(said["category_ids"]))
    findings = tuple(Finding(*each) for each in said["findings"])
    return Split(
        source=Path(said["source"]),
        folder=Path(said["folder"]),
        label_space=space,
        names=names,
        findings=findings,
        **arrays,
    )


def _keep(file: Path, split: Split, state: str) -> None:
    """Write it whole or not at all; a folder that cannot be written keeps nothing."""
    said = {
        "state": state,
        "source": str(split.source),
        "folder": str(split.folder),
        "classes": split.label_space.names,
        "category_ids": split.label_space.category_ids,
        "findings": split.findings,
    }
    arrays = {name: each for name, each in split._asdict().items() if isinstance(each, np.ndarray)}
    arrays["content"] = np.frombuffer(split.names.content, np.uint8)
    arrays["ends"] = split.names.ends
    arrays["said"] = np.array(json.dumps(said))
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as draft:
            np.savez(draft, allow_pickle=False, **arrays)
        os.replace(draft.name, file)
