"""Clocks for the host and for a CUDA stream."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any, Protocol

import torch


class StepClock(Protocol):
    """Stamps moments, and says how long the spans between them were."""

    def now(self) -> Any:
        """A stamp of this moment."""

    def seconds(self, stamps: list[Any]) -> list[float]:
        """Seconds between neighbouring stamps."""


class HostClock:
    """The host's time."""

    def now(self) -> float:
        """Seconds since some moment."""
        return time.perf_counter()

    def seconds(self, stamps: list[float]) -> list[float]:
        """Seconds between neighbouring stamps."""
        return [end - start for start, end in pairwise(stamps)]


class CudaClock:
    """The time of the current CUDA stream: a stamp never makes the host wait, reading it does."""

    def now(self) -> torch.cuda.Event:
        """An event that the device reaches in its own time."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, stamps: list[torch.cuda.Event]) -> list[float]:
        """Seconds between neighbouring stamps, after waiting for the last one."""
        stamps[-1].synchronize()
        return [start.elapsed_time(end) / 1000 for start, end in pairwise(stamps)]


def clock_of(device: torch.device) -> StepClock:
    """The clock by which a device's work is measured; MPS and the CPU go by the host's."""
    return CudaClock() if device.type == "cuda" else HostClock()
