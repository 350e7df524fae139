"""What a command leaves when it ends by a fault of the machine or of another of its processes."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from detbox.errors import DetboxError, MachineError
from detbox.ranks import rank

PATIENCE = 3.0
"""seconds in which the process that failed first has written why"""


@contextmanager
def memory_watched(folder: Path) -> Iterator[None]:
    """Say what to do when memory runs out, and keep the traceback in the run folder.

    Raises:
        MachineError: it did.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        trace = _kept(folder / "out_of_memory.txt")
        told = str(error).splitlines() or ["host memory"]
        raise MachineError(
            f"out of memory ({told[0]}); try a smaller "
            "data.batch_size, trainer.precision=bf16-mixed or backbone.checkpointing=true; "
            f"the traceback is in {trace}"
        ) from error


@contextmanager
def others_watched(folder: Path) -> Iterator[None]:
    """Tell the error of the process that failed first: the others only lose their connection.

    Raises:
        MachineError: another process failed.
    """
    try:
        yield
    except Exception as error:
        if not _is_one_of_many():
            raise
        if isinstance(error, DetboxError) or not _has_lost_others(error):
            _kept(folder / f"error_of_process_{rank()}.txt")
            raise
        if first := _first_failure(folder):
            number = first.stem.rpartition("_")[2]
            line = first.read_text(encoding="utf-8").strip().splitlines()[-1]
            raise MachineError(
                f"process {number} failed: {line}; its traceback is in {first}"
            ) from error
        raise


def _first_failure(folder: Path) -> Path | None:
    """What another process has written; it may still be writing."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if written := list(folder.glob("error_of_process_*.txt")):
            return min(written, key=lambda each: each.stat().st_mtime)
        time.sleep(0.1)
    return None


def _is_one_of_many() -> bool:
    from torch import distributed

    # Not by the environment, which Lightning has cleared by now.
    return distributed.is_available() and distributed.is_initialized()


def _has_lost_others(error: Exception) -> bool:
    """Whether a collective failed: torch has a class for it, gloo and NCCL texts."""
    from torch.distributed import DistBackendError, DistNetworkError

    texts = ("closed by peer", "Connection reset", "gloo", "NCCL")
    lost = isinstance(error, (DistBackendError, DistNetworkError))
    return lost or any(text in str(error) for text in texts)


def _kept(file: Path) -> Path:
    """The traceback of the error that is being handled, in a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".tmp")
    partial.write_text(traceback.format_exc(), encoding="utf-8")
    return partial.replace(file)


def _is_out_of_memory(error: Exception) -> bool:
    """CUDA has a class for it, the host Python's own or an allocator's text, MPS a text."""
    import torch

    kinds = (MemoryError, torch.OutOfMemoryError)
    texts = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, kinds) or any(text in str(error) for text in texts)
