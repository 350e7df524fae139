"""Runs of the command line in forks of this process, which has imported everything already."""

from __future__ import annotations

import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import lightning.pytorch  # noqa: F401  what every training imports
import torch
from lightning.pytorch.callbacks import ModelCheckpoint  # noqa: F401

from detbox import cli


def start(
    name: str, *overrides: str, folder: Path, prepare: Callable[[], None] | None = None
) -> int:
    """Start a command in `folder`, its output in `NAME.log` there; gives the process.

    Args:
        name: of the command.
        overrides: its arguments.
        folder: to work in.
        prepare: called in the new process before the command.
    """
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        sys.stdout = sys.stderr = (folder / f"{name}.log").open("a", buffering=1)
        for stream in (1, 2):
            os.dup2(sys.stdout.fileno(), stream)
        torch.set_num_threads(1)
        warnings.resetwarnings()  # those of the tests are errors
        if prepare:
            prepare()
        sys.argv = [f"{name}.py", *overrides]
        cli.main(name)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(process: int, seconds: float = 120.0) -> int:
    """Exit status of a process, negative for the signal that killed it.

    Raises:
        TimeoutError: it goes on.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    raise TimeoutError(f"process {process} goes on after {seconds} s")
