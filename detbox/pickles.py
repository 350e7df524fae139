"""Files of `torch.save`: read without executing anything, written whole or not at all."""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detbox.errors import CheckpointError, MachineError


class Inert:
    """Stands for an object of a library that a file mentions beside its tensors; does nothing."""


_ARRAY: Any = np.zeros(0).__reduce__()[0]
_SCALAR = np.float64(0).__reduce__()[0]
ALLOWED: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    argparse.Namespace,
    *((pathlib.PurePosixPath, f"{home}.PosixPath") for home in ("pathlib", "pathlib._local")),
    np.dtype,
    *{type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "?")},
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.ndarray,
    *((_ARRAY, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    (Inert, "mmengine.logging.history_buffer.HistoryBuffer"),
]
"""Beside tensors and plain containers: files of trainings keep their command line and figures."""


def read_safely(path: Path, *, mapped: bool = False) -> Any:
    """The content of a file that `torch.save` wrote; a pickle that would run code is refused.

    Args:
        path: an existing file.
        mapped: leave the tensors on the disk until they are used; the file must then stay.

    Raises:
        ValueError: the file is something else, or asks for more than tensors and plain values.
    """
    mapped &= zipfile.is_zipfile(path)  # older files cannot be mapped
    try:
        with torch.serialization.safe_globals(ALLOWED):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    # The unpickler raises whatever it trips over in a file that is something else.
    except Exception as error:
        if called := re.search(r"\bGLOBAL ([\w.]+)", str(error)):
            raise CheckpointError(
                f"{path} asks for {called[1]}, which no tensor needs; it was refused and nothing "
                "was executed; save the tensors alone where the file was made: "
                "torch.save({'model': model.state_dict()}, FILE)"
            ) from error
        raise CheckpointError(
            f"{path} is no file of tensors as torch.save writes it "
            f"({type(error).__name__}); give a .pth or .ckpt file"
        ) from error


def write_whole(content: Any, path: Path) -> None:
    """Write beside the target and rename, which a file system does at once or not at all.

    What was written is on the disk before the name changes, so a machine that dies meanwhile
    leaves the old file.

    Raises:
        MachineError: it cannot be written, as on a full disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.tmp")
    try:
        torch.save(content, partial)
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(partial, path)
        _sync_name(path)
    except (OSError, RuntimeError) as error:  # a disk that is full is either to torch
        raise MachineError(
            f"{path} cannot be written ({str(error).splitlines()[0]}); what was there before is "
            "left as it was; make room, or name another folder"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _sync_name(path: Path) -> None:
    """Bring the new name to the disk as well, where the system can open folders."""
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
