"""Nested progress bars on a terminal; plain lines now and then anywhere else."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rich import get_console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from detbox.console.lines import say


@dataclass
class _Task:
    """One open bar."""

    name: str
    total: float
    row: TaskID | None
    done: int = 0
    spoke: float = 0.0


class Bar:
    """A stack of bars: `open` and `shut` nest, `advance` and `tell` speak of the innermost.

    Args:
        silence: seconds after which a plain line says how far an untold task is.
    """

    def __init__(self, silence: float = 30.0) -> None:
        self.silence = silence
        self._live: Progress | None = None
        self._tasks: list[_Task] = []

    def open(self, name: str, total: float) -> None:
        """Begin a task of `total` steps, inf where there is no end."""
        row = None
        if get_console().is_terminal:
            self._live = self._live or _start()
            row = self._live.add_task(name, total=None if total == float("inf") else total, text="")
        self._tasks.append(_Task(name, total, row, spoke=time.monotonic()))

    def advance(self, steps: int = 1) -> None:
        """So many steps of the innermost task are done."""
        if not self._tasks:
            return
        task = self._tasks[-1]
        task.done += steps
        if self._live is not None and task.row is not None:
            self._live.advance(task.row, steps)
        elif time.monotonic() - task.spoke > self.silence:
            self.tell("")

    def tell(self, text: str) -> None:
        """Show `text` with the innermost task."""
        task = self._tasks[-1]
        task.spoke = time.monotonic()
        if self._live is not None and task.row is not None:
            self._live.update(task.row, text=text)
        else:
            say(f"{task.name}  step {task.done}/{task.total}  {text}".rstrip())

    def shut(self) -> None:
        """End the innermost task and clear its bar."""
        if not self._tasks:
            return
        task = self._tasks.pop()
        if self._live is not None and task.row is not None:
            self._live.remove_task(task.row)
        if self._live is not None and not self._tasks:
            self._live.stop()
            self._live = None

    def close(self) -> None:
        """End all tasks and give the terminal back."""
        while self._tasks:
            self.shut()


def _start() -> Progress:
    name, text = (
        TextColumn(f"{{task.{it}}}", markup=False) for it in ("description", "fields[text]")
    )
    columns = (name, BarColumn(20), MofNCompleteColumn(), text)
    live = Progress(*columns, console=get_console(), transient=True)
    live.start()
    return live
