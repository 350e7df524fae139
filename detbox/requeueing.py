"""Jobs of submitit: saved after their step when their place is wanted, then queued again."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from detbox.errors import MachineError
from detbox.stopping import REQUESTS, Stopped


def check_launcher(typed: Mapping[str, Any]) -> None:
    """Refuse to submit jobs where there is no Slurm.

    Args:
        typed: keys and values of the command line of a sweep.

    Raises:
        MachineError: says so.
    """
    chosen = {typed.get("launcher"), typed.get("hydra/launcher")}
    if not chosen.isdisjoint({"slurm", "submitit_slurm"}) and shutil.which("srun") is None:
        raise MachineError(
            "launcher=slurm: there is no srun here; type it on a machine of the cluster, "
            "or launcher=local to run the jobs on this one"
        )


@contextmanager
def requeued() -> Iterator[None]:
    """Within a job of submitit, let its signal wait for the end of a step; elsewhere do nothing.

    submitit's own handler, which queues the job again and ends it, has its turn after that.
    SIGTERM, which Slurm sends to whatever it will end, only saves: a job that somebody cancels must
    not come back.
    """
    number = _signal()
    queue_again = None if number is None else signal.getsignal(number)
    if number is None or not callable(queue_again):
        yield
        return
    REQUESTS.schedule(number, save=signal.SIGTERM)
    try:
        with REQUESTS.heard():
            yield
    except Stopped as stopped:
        print(stopped, file=sys.stderr, flush=True)
        queue_again(number, None)
        sys.exit(0)  # another process than the first, which ends them all


def _signal() -> signal.Signals | None:
    """What submitit takes for the end of a job's time; None: this is no job of it."""
    if "SUBMITIT_EXECUTOR" not in os.environ:
        return None
    return signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]
