"""`console.log`: what a person saw on the console, kept in the run folder."""

from __future__ import annotations

import io
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TextIO, cast

from rich import get_console
from rich.console import Console, ConsoleRenderable, RenderHook
from rich.control import Control
from rich.text import Text

from detbox.errors import DetboxError
from detbox.messages import printable
from detbox.stopping import Stopped

NAME = "console.log"
ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\^_])")
"""of terminals: colours, movements of the cursor, titles"""


@contextmanager
def recorded(folder: Path, heading: str | None = None) -> Iterator[None]:
    """Add every line that is printed within to `folder/console.log`, and how it ended.

    Lines lie in the file as soon as they are printed, without colours; of what a program prints
    over itself, such as a progress bar, the last state remains. Other processes of the run may add
    to the same file.

    Args:
        folder: of the run.
        heading: first line; None: of a process that is not the first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = Record(folder / NAME)
    if heading is not None:
        record.add(f"{'' if record.is_new else chr(10)}# {heading}")
    console, mirror = get_console(), _Mirror(record)
    before = vars(console)["_file"]
    console.file = console.file  # else the shared console would print into the copies below
    console.push_render_hook(mirror)
    out, err = (cast("TextIO", _Copied(each, record)) for each in (sys.stdout, sys.stderr))
    try:
        with redirect_stdout(out), redirect_stderr(err):
            yield
    except BaseException as error:
        if told := _ending(error):
            record.add(told)
        raise
    finally:
        console.pop_render_hook()
        console.file = before
        record.close()


class Record:
    """Whole lines, appended to a file in one go each, so that several processes may do so.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        # Not a Python file: a signal's handler may print in the midst of a write.
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        self.is_new = not os.fstat(self._file).st_size

    def add(self, text: str) -> None:
        """Add one or more lines; where the disk is full, the run goes on without."""
        lines = [ESCAPES.sub("", line).rstrip().rpartition("\r")[2] for line in text.split("\n")]
        if self._file >= 0:
            try:
                os.write(self._file, ("\n".join(lines) + "\n").encode(errors="backslashreplace"))
            except OSError:
                self.close()

    def close(self) -> None:
        """Add nothing from now on."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


class _Copied:
    """A stream whose lines are recorded as well."""

    def __init__(self, stream: TextIO, record: Record) -> None:
        self._stream = stream
        self._record = record
        self._begun = ""

    def write(self, text: str) -> int:
        """Print, and record what ends in a line break."""
        *lines, self._begun = (self._begun + text).split("\n")
        if lines:
            self._record.add("\n".join(lines))
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Mirror(RenderHook):
    """Records what the shared console prints, before a live bar is added to it."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Render all but movements of the cursor once more, as plain text."""
        for each in renderables:
            if not isinstance(each, Control):
                self._record.add(_plain(each))
        return renderables


def _plain(printed: ConsoleRenderable) -> str:
    console = Console(file=io.StringIO(), width=get_console().width)
    with console.capture() as captured:
        console.print(printed, soft_wrap=isinstance(printed, Text))
    return captured.get().removesuffix("\n")


def _ending(error: BaseException) -> str:
    """What is printed of an error after everything else."""
    if isinstance(error, DetboxError):
        return f"error: {printable(str(error))}"
    if isinstance(error, Stopped):
        return str(error) if error.is_first else ""
    if isinstance(error, SystemExit):
        return ""
    return "".join(traceback.format_exception(error)).rstrip()
