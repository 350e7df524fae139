"""A data set as rules want it: read, its files looked at, some or all of them decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from detbox.annotations.likeness import near_duplicates
from detbox.annotations.split import Split
from detbox.checking.files import decoded, read_files
from detbox.checking.subject import Part, Picture, Subject
from detbox.console.bar import Bar
from detbox.data.converting import undivided
from detbox.data.dataset import DataSet
from detbox.errors import DataError

SAMPLE = 200
"""pictures of a split that are decoded where not all are"""


def gathered(dataset: DataSet, queries: int | None, *, decode: bool, alike: bool) -> Subject:
    """Read what is there, and look at every file.

    Args:
        dataset: any.
        queries: of the model; None: none is chosen.
        decode: all pictures, not a sample and those that seem to be cut off.
        alike: compare every picture with all others.

    Raises:
        FileNotFoundError, ValueError: as the splits are read.
    """
    splits = {name: split for name in ("train", "val") if (split := dataset.read(name)) is not None}
    if not splits:
        raise DataError(f"expected pictures with annotations, found none; {dataset.advice}")
    parts: list[Part] = []
    known: set[Path] = set()
    bar = Bar()
    try:
        for name, split in undivided(splits).items():
            paths = split.paths(split.num_images)
            own = np.array([path not in known for path in paths], dtype=bool)
            parts.append(_part(name, split, own, dataset, decode, bar))
            known.update(paths)
    finally:
        bar.close()
    return Subject(tuple(parts), dataset.display, queries, _alike(parts) if alike else ())


def _part(
    name: str, split: Split, own: np.ndarray, dataset: DataSet, decode: bool, bar: Bar
) -> Part:
    bar.open(f"{name} files".lstrip(), split.num_images)
    files = read_files(split, bar.advance)
    bar.shut()
    readable = [at for at, file in enumerate(files) if file.kind]
    cut_off = [at for at in readable if not files[at].ends]
    chosen = readable if decode else sorted({*cut_off, *_spread(readable)})
    bar.open(f"{name} pictures".lstrip(), len(chosen))
    troubles: dict[int, tuple[str, ...]] = {}
    workers = dataset.loading.workers
    for at, told in decoded(split, chosen, dataset.reading, dataset.display, workers):
        troubles[at] = told
        bar.advance()
    bar.shut()
    return Part(name, split, files, {at: told for at, told in troubles.items() if told}, own)


def _alike(parts: Sequence[Part]) -> list[list[Picture]]:
    pictures = [(part, at) for part in parts for at in np.flatnonzero(part.own).tolist()]
    groups = near_duplicates([part.split.path(at) for part, at in pictures])
    return [[pictures[at] for at in group] for group in groups]


def _spread(images: list[int]) -> Iterator[int]:
    """A sample from the first to the last."""
    if images:
        places = np.linspace(0, len(images) - 1, min(SAMPLE, len(images))).round().astype(int)
        yield from (images[at] for at in places.tolist())
