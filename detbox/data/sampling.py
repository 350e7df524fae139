"""Which images make up a batch: pure functions of (seed, epoch, rank, world size)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from torch.utils.data import Sampler

ORDER = 3
"""random stream of the order, beside those of the pictures"""

EpochPlan = Callable[[int], list[np.ndarray]]


def training_batches(
    length: int, batch_size: int, seed: int, epoch: int, rank: int = 0, world_size: int = 1
) -> list[np.ndarray]:
    """The batches of one rank: as many on every rank, all full.

    The union of a step's batches over the ranks depends on their common size only. The images that
    do not fill a last step are left out, others in each epoch; fewer than one step are repeated.
    """
    step, steps = batch_size * world_size, training_steps(length, batch_size, world_size)
    order = np.random.default_rng((seed, epoch, ORDER)).permutation(length)
    own = np.resize(order, steps * step).reshape(steps, batch_size, world_size)[..., rank]
    return list(own)


def training_steps(length: int, batch_size: int, world_size: int = 1) -> int:
    """How many batches `training_batches` gives."""
    return max(1, length // (batch_size * world_size))


def evaluation_batches(
    length: int, batch_size: int, rank: int = 0, world_size: int = 1
) -> list[np.ndarray]:
    """The batches of one rank: over all ranks every image, and as many batches on each.

    A rank that would have a batch less takes an image again; scoring counts each once.
    """
    own = np.arange(rank, length, world_size)
    batches = [own[start : start + batch_size] for start in range(0, len(own), batch_size)]
    missing = math.ceil(math.ceil(length / world_size) / batch_size) - len(batches)
    return batches + missing * [np.zeros(1, dtype=own.dtype)]


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Lists of (epoch, index), from any position of an epoch on.

    The epoch travels with the index, so workers hold no state.
    """

    def __init__(self, plan: EpochPlan) -> None:
        self._plan = plan
        self._length = len(plan(0))
        self.epoch = 0
        self.start = 0
        """batch that the next pass begins with"""
        self.yielded = 0
        """batches of the epoch that have been handed out"""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; Lightning calls this before each one."""
        if epoch != self.epoch:
            self.epoch, self.start, self.yielded = epoch, 0, 0

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return self._length

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """The batches from `start` on."""
        epoch = self.epoch
        for batch in self._plan(epoch)[self.start :]:
            yield [(epoch, index) for index in batch.tolist()]
