"""Running figures of a training run: mean losses, speed, time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from datetime import timedelta

import torch
from torch import Tensor

from detbox.messages import counted
from detbox.structures import Term


class Means:
    """Mean of the total loss, of the terms that inference's predictions have, and of the rest."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count: Tensor | int = 0
        self._others = 0

    def add(self, loss: Tensor, terms: Iterable[Term]) -> None:
        """Add the loss and the terms of one batch, on the device; no batch that came to NaN."""
        terms, finite = tuple(terms), loss.detach().isfinite()
        final = {term.loss: term.value for term in terms if term.final}
        self._others = len({term.origin for term in terms if not term.final}) or self._others
        for name, value in {"loss": loss, **final}.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach().where(finite, 0.0)
        self._count = self._count + finite

    def __str__(self) -> str:
        """`loss 9.9 = final 2.2 (class 0.8 l1 1.4) + 7.7 in 13 auxiliary sets`.

        Waits for the device. Those sets are the predictions of earlier layers, of the encoder and
        of denoising.
        """
        means = {name: float(value / self._count) for name, value in self._sums.items()}
        total = means.pop("loss", 0.0)
        told = f"loss {total:.4g}"
        if not means:
            return told
        terms = " ".join(f"{name} {mean:.4g}" for name, mean in means.items())
        told += f" = final {sum(means.values()):.4g} ({terms})"
        if not self._others:
            return told
        rest = total - sum(means.values())
        return f"{told} + {rest:.4g} in {counted(self._others, 'auxiliary set')}"


class Speed:
    """Images per second of the time that is spent on training."""

    def __init__(self) -> None:
        self._images = 0
        self._seconds = 0.0
        self._since: float | None = time.perf_counter()

    def add(self, images: int) -> None:
        """Count images that have been trained on."""
        self._images += images

    def pause(self) -> None:
        """Stop the clock, for a validation."""
        if self._since is not None:
            self._seconds += time.perf_counter() - self._since
        self._since = None

    def resume(self) -> None:
        """Let the clock run again."""
        if self._since is None:
            self._since = time.perf_counter()

    def __str__(self) -> str:
        """The figure with its unit."""
        running = 0.0 if self._since is None else time.perf_counter() - self._since
        return f"{self._images / max(self._seconds + running, 1e-9):.1f} images/s"


class Forecast:
    """Time left, from the batches done since the start of this process.

    Args:
        done: batches that an earlier process did.
        total: batches of the whole run, inf where it has no end.
    """

    def __init__(self, done: int, total: float) -> None:
        self._first = done
        self._total = total
        self._start = time.perf_counter()

    def left(self, done: int) -> str:
        """h:mm:ss until the end when `done` batches are done."""
        if done <= self._first or self._total == float("inf"):
            return "?"
        passed = time.perf_counter() - self._start
        return clock(passed * (self._total - done) / (done - self._first))


def memory(device: torch.device) -> str:
    """The most that this process has taken so far, of the device or else of the host."""
    if device.type == "cuda":
        most = torch.cuda.max_memory_allocated(device)
    elif device.type == "mps":
        most = torch.mps.driver_allocated_memory()
    elif sys.platform == "win32":
        return ""
    else:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return f"{most / 2**30:.1f} GiB"


def clock(seconds: float) -> str:
    """h:mm:ss, with days where there are any."""
    return str(timedelta(seconds=round(max(seconds, 0.0))))
