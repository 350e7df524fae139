"""Whether a run waits for its data or its data for the run."""

from __future__ import annotations

from collections.abc import Sequence

from detbox.machine import available_cores

LONG = 0.25
"""share of a step that waits for data from which on a run is bound by them"""


class Waiting:
    """Seconds of the steps of an epoch, and how many of them went by without data.

    Args:
        skipped: first steps that do not count, in which a loader's workers start.
    """

    def __init__(self, skipped: int = 0) -> None:
        self._skipped = skipped
        self._data = 0.0
        self._whole = 0.0

    def add(self, seconds: Sequence[float]) -> None:
        """Count a step by its parts, waiting for data first."""
        if self._skipped:
            self._skipped -= 1
            return
        self._data += seconds[0]
        self._whole += sum(seconds)

    @property
    def share(self) -> float | None:
        """Of the time, in [0, 1]; None where no step counted."""
        return self._data / self._whole if self._whole else None


def verdict(share: float, workers: int | None, per_machine: int = 1) -> str:
    """One line: which of the two holds the other up, and what to do.

    Args:
        share: of a step that waits for data.
        workers: of one loader; None: unknown.
        per_machine: loaders that share the cores.
    """
    told = f"{share:.0%} of a step waits for data"
    if share < LONG:
        return f"compute-bound: {told}"
    most = max(available_cores() // per_machine, 1)
    if workers is not None and workers < most:
        return f"data-bound: {told}; try data.workers={most} (now {workers})"
    return (
        f"data-bound: {told}, and every core loads already; smaller files, a faster disk or fewer "
        "steps of data.augment would help"
    )
