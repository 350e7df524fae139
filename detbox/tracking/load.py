"""How busy the machine is while a run trains."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from detbox.tracking.steps import is_logged

PROC = Path("/proc")
"""Linux alone has it"""
IDLE = (3, 4)
"""places of idle and waiting-for-disk among the clock ticks of `/proc/stat`"""
GIB = 2**30


class SystemLoad(pl.Callback):
    """Log on logging steps what this machine has to do, as `system/…`.

    `cpu_share` is of all cores, in [0, 1], since the last reading; where there is no `/proc`, it is
    the load average by core. `memory_gib` is what this process holds without its workers,
    `memory_free_gib` what any process could still have, and `gpu_memory_gib` what torch holds of
    the device. Of each node it is the first process's.
    """

    def __init__(self) -> None:
        self._ticks = (0, 0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start counting."""
        self._ticks = _ticks(PROC)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Read, which takes no step of the device."""
        if not is_logged(trainer, trainer.global_step):
            return
        before, self._ticks = self._ticks, _ticks(PROC)
        figures = {**cpu(before, self._ticks), **memory(PROC), **gpu_memory(pl_module.device)}
        pl_module.log_dict({f"system/{name}": value for name, value in figures.items()})


def cpu(before: tuple[int, int], after: tuple[int, int]) -> dict[str, float]:
    """The share of all cores that was busy between two readings; empty where unknown."""
    busy, every = (new - old for new, old in zip(after, before, strict=True))
    if every > 0:
        return {"cpu_share": busy / every}
    if after == (0, 0) and hasattr(os, "getloadavg"):
        return {"cpu_share": os.getloadavg()[0] / (os.cpu_count() or 1)}
    return {}


def memory(proc: Path) -> dict[str, float]:
    """Of the host, in GiB; empty where there is no such folder."""
    try:
        pages = int((proc / "self/statm").read_text().split()[1])
        lines = (proc / "meminfo").read_text().splitlines()
    except (OSError, IndexError, ValueError):
        return {}
    figures = {"memory_gib": pages * os.sysconf("SC_PAGE_SIZE") / GIB}
    for line in lines:
        if line.startswith("MemAvailable:"):
            figures["memory_free_gib"] = int(line.split()[1]) * 1024 / GIB
    return figures


def gpu_memory(device: torch.device) -> dict[str, float]:
    """Of the device, in GiB; empty for the CPU."""
    if device.type == "cuda":
        return {"gpu_memory_gib": torch.cuda.memory_reserved(device) / GIB}
    if device.type == "mps":
        return {"gpu_memory_gib": torch.mps.driver_allocated_memory() / GIB}
    return {}


def _ticks(proc: Path) -> tuple[int, int]:
    """Clock ticks of all cores since the machine started: busy ones, and all; zeros if unknown."""
    try:
        first = (proc / "stat").read_text().splitlines()[0]
        ticks = [int(each) for each in first.split()[1:9]]
    except (OSError, IndexError, ValueError):
        return 0, 0
    return sum(ticks) - sum(ticks[place] for place in IDLE), sum(ticks)
