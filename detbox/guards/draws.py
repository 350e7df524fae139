"""The random numbers that a step met: kept as they stood, and met again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def draws_now(device: torch.device) -> dict[str, Any]:
    """States of all generators that a step may draw from, as tensors and plain values."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": [str(name), torch.from_numpy(np.asarray(keys, np.int64)), *rest],
        "python": random.getstate(),
    }


@contextmanager
def drawn_again(draws: dict[str, Any], device: torch.device) -> Iterator[None]:
    """Meet the same random numbers within, and afterwards those that would have come."""
    after = draws_now(device)
    _restore(draws, device)
    try:
        yield
    finally:
        _restore(after, device)


def _restore(draws: dict[str, Any], device: torch.device) -> None:
    """On a device of another kind than the run's, its own generator goes on from torch's seed."""
    torch.set_rng_state(draws["torch"])
    if device.type == "cuda" and draws["cuda"] is not None:
        torch.cuda.set_rng_state(draws["cuda"], device)
    name, keys, *rest = draws["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    version, words, gauss = draws["python"]
    random.setstate((version, tuple(words), gauss))
