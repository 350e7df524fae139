"""Signals to stop: a command ends with 128 and the signal, a training after its step."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.util import Finalize
from types import FrameType

COPIES = 1.0
"""seconds in which torchrun has sent on what a scheduler sends to all processes at once"""
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
"""Ctrl-C, the end of a job, a terminal that was closed, Slurm's warning before the end"""
SIGNALS = tuple(signal.Signals[each] for each in NAMES if each in signal.Signals.__members__)
OF_SUBMITIT = tuple(each for each in signal.Signals if each.name == "SIGUSR2")
"""what Slurm sends to all processes of a job before its end, where submitit asked for it"""


class Stopped(BaseException):
    """Somebody asked the program to end; not an `Exception`, so that nobody takes it for a fault.

    Args:
        number: of the signal.
        told: where the work stands.
    """

    def __init__(self, number: int, told: str = "nothing is lost but this command") -> None:
        super().__init__(f"stopped by {_called(number)}: {told}")
        self.number = number
        self.is_first = True
        """of the processes that stop together: the one that says so"""
        self.is_follower = False
        """of a process that Lightning started, which would kill this run's first at another code"""

    @property
    def code(self) -> int:
        """The exit status that shells and schedulers know for a signal."""
        return 0 if self.is_follower else 128 + self.number


class Requests:
    """What to do when a signal comes: stop at once, or note it where stopping must wait.

    A second signal ends the process wherever it is.
    """

    def __init__(self) -> None:
        self.noted: int | None = None
        self._noted_at = 0.0
        self._waiting = False
        self.saving = False
        """whether somebody asked for a checkpoint, and for no more"""
        self._stop: tuple[signal.Signals, ...] = SIGNALS
        self._save: tuple[signal.Signals, ...] = ()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if number in self._save:
            self.saving = True
            return
        if self.noted is not None:
            if self._is_copy(number):
                return
            os._exit(128 + number)
        self.noted, self._noted_at = number, time.monotonic()
        if not self._waiting:
            raise Stopped(number)
        again = "" if self._save else "; once more to stop at once"
        print(f"{_called(number)}: stopping after this step{again}", file=sys.stderr, flush=True)

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Handle the signals within; only Python's main thread can."""
        before = self.install()
        try:
            yield
        finally:
            self.noted = None
            for number, handler in before.items():
                signal.signal(number, handler)

    def install(self) -> dict[signal.Signals, signal._HANDLER]:
        """Take over the signals, from whoever has them; gives back who had."""
        if threading.current_thread() is not threading.main_thread():
            return {}
        heard = [number for number in (*self._stop, *self._save) if not _ignored(number)]
        return {number: signal.signal(number, self) for number in heard}

    def schedule(self, stop: signal.Signals, save: signal.Signals) -> None:
        """Hear these two in place of the usual ones: the process belongs to a scheduler."""
        self._stop, self._save = (stop,), (save,)

    def wait(self, waiting: bool) -> None:
        """Only note signals from now on, or stop at once again."""
        self._waiting = waiting

    def _is_copy(self, number: int) -> bool:
        """Whether the scheduler, torchrun or both have sent one signal twice."""
        if self._save:
            return True
        soon = time.monotonic() - self._noted_at < COPIES
        return "TORCHELASTIC_RUN_ID" in os.environ and number == self.noted and soon


def _called(number: int) -> str:
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def _ignored(number: signal.Signals) -> bool:
    """As `nohup` has it; Ctrl-C alone is also ignored where a shell put the command behind."""
    return number != signal.SIGINT and signal.getsignal(number) is signal.SIG_IGN


REQUESTS = Requests()
"""of this process: there is one handler per signal"""


class WorkerSignals:
    """For the workers of a loader: what ends a run comes from the process that trains.

    A scheduler signals all processes at once, and a step that still needs a batch must get it.
    """

    def __init__(self) -> None:
        self._leaving = multiprocessing.Event()
        # Before Python terminates its children at exit, which they then must not ignore.
        Finalize(self, self._leaving.set, exitpriority=100)

    def __call__(self, _: int) -> None:
        """Take over the signals in a worker."""
        for number in (*SIGNALS, *OF_SUBMITIT):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._end)

    def _end(self, number: int, frame: FrameType | None) -> None:
        if self._leaving.is_set():
            os._exit(0)
