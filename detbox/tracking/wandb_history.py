"""Which W&B run is a folder's, and what that run was told, from the files that wandb left there."""

from __future__ import annotations

import json
import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

STEP = "trainer/global_step"
BLOCK, HEADER, FILE_HEADER = 32768, 7, 7
"""bytes of a LevelDB log's block, of the header of each piece in it, and of W&B's own before all"""
FULL, FIRST, LAST = 1, 2, 4
"""kinds of pieces; 3 is one in the middle"""

log = logging.getLogger(__name__)


class Row(NamedTuple):
    """One row of a W&B history."""

    number: int
    """W&B's own count, `_step`"""
    step: int
    """optimizer steps"""
    names: tuple[str, ...]


def stored_id(folder: Path) -> str | None:
    """The W&B run of a run folder."""
    file = _id_file(folder)
    return file.read_text(encoding="utf-8").strip() or None if file.is_file() else None


def store_id(folder: Path, run_id: str) -> None:
    """Remember the W&B run of a run folder, whatever becomes of W&B's own files."""
    file = _id_file(folder)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{run_id}\n", encoding="utf-8")


def history(folder: Path, run_id: str) -> list[Row] | None:
    """What the run's files hold, in order of time; None where they are gone.

    W&B writes 32 KiB at once, so a run that was killed offline may have left an empty file. One
    that cannot be read counts as empty, too.
    """
    files = sorted(folder.glob(f"wandb/*run-*/run-{run_id}.wandb"), key=_started)
    return [row for file in files for row in _readable(file)] if files else None


def _id_file(folder: Path) -> Path:
    return folder / "wandb" / "run_id.txt"


def _started(file: Path) -> str:
    """`run-DATE_TIME-ID` or `offline-run-DATE_TIME-ID`, without what comes before the date."""
    return file.parent.name.partition("run-")[2]


def _readable(file: Path) -> list[Row]:
    try:
        return list(_rows(file))
    except Exception as error:  # the format is W&B's own and may change
        log.warning("W&B: %s cannot be read, so rows may come twice: %s", file, error)
        return []


def _rows(file: Path) -> Iterator[Row]:
    from wandb.proto import wandb_internal_pb2

    messages: Any = wandb_internal_pb2  # makes its classes as it is imported
    for data in _records(file.read_bytes()):
        record = messages.Record.FromString(data)
        if not record.HasField("history"):
            continue
        items = {".".join(each.nested_key) or each.key: each for each in record.history.item}
        if STEP in items:
            names = tuple(name for name in items if not name.startswith("_"))
            yield Row(record.history.step.num, int(json.loads(items[STEP].value_json)), names)


def _records(data: bytes) -> Iterator[bytes]:
    """The records of a LevelDB log; what a killed process began to write is left out."""
    position, parts = FILE_HEADER, b""
    while position + HEADER <= len(data):
        left = BLOCK - position % BLOCK
        if left < HEADER:  # the rest of a block is padding
            position += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, position)
        position += HEADER
        if not kind or position + size > len(data):
            return
        piece = data[position : position + size]
        position += size
        parts = piece if kind in (FULL, FIRST) else parts + piece
        if kind in (FULL, LAST):
            yield parts
