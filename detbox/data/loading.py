"""Samples to batches, in workers, resumable in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypedDict

import torch
from torch.utils.data import DataLoader, Dataset

from detbox.data.samples import Sample
from detbox.data.sampling import EpochBatches
from detbox.data.troubles import FileTroubles
from detbox.machine import available_cores
from detbox.padding import stacked
from detbox.stopping import WorkerSignals
from detbox.structures import Batch, ImageBatch, StepObjects, Targets


class LoaderState(TypedDict):
    """Where a loader stands; goes into the checkpoint."""

    epoch: int
    yielded: int
    length: int


class Loader:
    """Batches of one rank; Lightning saves and restores its position.

    Args:
        dataset: samples by (epoch, index).
        sampler: which samples make up a batch.
        workers: processes that decode; at most one per core, 0: decode in this one.
        split: name of the split in warnings about files.
        accumulated: batches per optimizer step, each of which is told the objects of all.
        counted: how many batches of an epoch count; those behind are told that none of theirs do.
            None: all.
    """

    def __init__(
        self,
        dataset: Dataset[Sample],
        sampler: EpochBatches,
        workers: int,
        split: str,
        accumulated: int = 1,
        counted: int | None = None,
    ) -> None:
        self.sampler = sampler
        self._accumulated = accumulated
        self._counted = len(sampler) if counted is None else counted
        self.batch_sampler = sampler  # Lightning looks here for shuffled validation
        self._troubles = FileTroubles(split)
        workers = self.num_workers = min(workers, available_cores())
        self._loader: DataLoader[Sample] = DataLoader(
            dataset,
            batch_sampler=sampler,
            num_workers=workers,
            collate_fn=_pack,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=workers > 0,
            worker_init_fn=WorkerSignals() if workers else None,
        )

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the epoch after `load_state_dict`, else a whole one."""
        self.sampler.yielded = self.sampler.start
        packets = iter(self._loader)
        while step := list(islice(packets, self._accumulated)):
            counts = tuple(n for packet in step for n in packet.batch.targets.counts)
            counts = counts if self.sampler.yielded < self._counted else ()
            objects = StepObjects(counts, self._accumulated)
            for packet in step:
                self.sampler.start = 0
                self.sampler.yielded += 1
                for what, file in packet.troubles:
                    self._troubles.add(what, file)
                yield packet.batch._replace(step=objects)
        self._troubles.report()

    def state_dict(self) -> LoaderState:
        """The position after the batches handed out so far."""
        sampler = self.sampler
        return LoaderState(epoch=sampler.epoch, yielded=sampler.yielded, length=len(self))

    def load_state_dict(self, state: LoaderState) -> None:
        """Go on behind the batches handed out before, also on another number of ranks."""
        start = state["yielded"] * len(self) // state["length"]
        epochs, start = divmod(start, len(self))
        self.sampler.set_epoch(state["epoch"] + epochs)
        self.sampler.start = self.sampler.yielded = start


def collate(samples: list[Sample]) -> Batch:
    """Pad pictures with zeros on the right and below to the largest, and join their boxes."""
    targets = Targets(
        labels=torch.cat([sample.labels for sample in samples]),
        boxes=torch.cat([sample.boxes for sample in samples]),
        counts=tuple(len(sample.labels) for sample in samples),
    )
    ids = tuple(sample.image_id for sample in samples)
    sizes = torch.tensor([sample.size for sample in samples], dtype=torch.int64)
    return Batch(stacked([sample.pixels for sample in samples]), targets, ids, sizes)


@dataclass
class _Packet:
    """What a worker sends: a batch, and the files that gave trouble."""

    batch: Batch
    troubles: list[tuple[str, str]]

    def pin_memory(self) -> _Packet:
        """Called by torch; its own recursion would turn the tuples of a batch into lists."""
        images, targets, ids, sizes, _ = self.batch
        pinned = ImageBatch(*(tensor.pin_memory() for tensor in images))
        labels, boxes = targets.labels.pin_memory(), targets.boxes.pin_memory()
        batch = Batch(pinned, Targets(labels, boxes, targets.counts), ids, sizes.pin_memory())
        return _Packet(batch, self.troubles)


def _pack(samples: list[Sample]) -> _Packet:
    troubles = [trouble for sample in samples for trouble in sample.troubles]
    return _Packet(collate(samples), troubles)
