"""Where a run goes on in its folder, and which figures its loggers have from before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from detbox.runfile import TO_RESUME, RunCheckpoint, run_file

EPOCH = "epoch"
"""Lightning adds it to every row"""


def resumed_at(folder: Path, config: Mapping[str, Any]) -> int | None:
    """Optimizer steps behind which a run goes on in this folder; None: it is new there.

    A run that was killed before its first checkpoint goes on at 0.

    Args:
        folder: of the run.
        config: the resolved configuration as plain containers.
    """
    ckpt = config.get("ckpt")
    if ckpt is None:
        return 0 if config.get("resume") == "auto" else None
    if folder.resolve() not in run_file(ckpt, TO_RESUME).resolve().parents:
        return None
    return RunCheckpoint.read(ckpt, TO_RESUME).step


class Once:
    """Leave out the figures that were logged before a run went on and did their steps again.

    Args:
        had: step and name of each.
    """

    def __init__(self, had: Iterable[tuple[int, str]] = ()) -> None:
        self._had = {(step, name) for step, name in had if name != EPOCH}

    def add(self, step: int, names: Iterable[str]) -> None:
        """Leave these out from now on, too."""
        self._had.update((step, name) for name in names if name != EPOCH)

    def __call__(self, metrics: Mapping[str, Any], step: int | None) -> dict[str, Any]:
        """What is new; empty where nothing is."""
        if step is None or not self._had:
            return dict(metrics)
        new = {name: value for name, value in metrics.items() if (step, name) not in self._had}
        return {} if set(new) <= {EPOCH} else new
