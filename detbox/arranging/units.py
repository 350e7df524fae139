"""What is divided: pictures that show the same go together, and every class is counted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from detbox.annotations.likeness import near_duplicates
from detbox.annotations.split import Split
from detbox.ranks import rank

if TYPE_CHECKING:
    from scipy.sparse import csr_array


logger = logging.getLogger("detbox")
MANY = 2000
"""pictures that keep a person waiting"""


class Units(NamedTuple):
    """Pictures that stay on one side are one unit."""

    numbers: np.ndarray
    """(N,) unit of every picture, in the order in which they are dealt"""
    alike: Sequence[Sequence[int]]
    """groups of near-duplicates, as positions"""

    @classmethod
    def of(cls, split: Split, seed: int, keep_alike: bool) -> Units:
        """Of all pictures of a split, by their names and the seed; their order is of no account.

        Args:
            split: not divided yet.
            seed: another one deals them in another order.
            keep_alike: whether near-duplicates are one unit; pictures of one name always are.
        """
        names = [split.names[index] for index in range(split.num_images)]
        keys = [_key(name, seed) for name in names]
        if keep_alike and len(names) >= MANY and not rank():
            logger.info("looking for near-duplicates among %d images", len(names))
        alike = near_duplicates(split.paths(len(names))) if keep_alike else []
        for group in alike:
            first = min(keys[position] for position in group)
            for position in group:
                keys[position] = first
        _, numbers = np.unique(keys, return_inverse=True)
        return cls(numbers, alike)

    @property
    def total(self) -> int:
        """U."""
        return int(self.numbers.max(initial=-1)) + 1

    def table(self, split: Split) -> csr_array:
        """(U, K + 3) pictures of a unit with each class, without objects, with some, and all."""
        from scipy.sparse import csr_array

        classes = len(split.label_space)
        with_class = np.stack((split.owners()[split.learnt], split.labels[split.learnt]))
        own, labels = np.unique(with_class, axis=1)
        every = np.arange(split.num_images)
        kinds = np.where(np.isin(every, own), classes + 1, classes)
        rows = self.numbers[np.concatenate((own, every, every))]
        columns = np.concatenate((labels, kinds, np.full(len(every), classes + 2)))
        shape = (self.total, classes + 3)
        return csr_array((np.ones(len(rows), dtype=int), (rows, columns)), shape=shape)


def _key(name: str, seed: int) -> str:
    """A number that is the same in every process, version and listing."""
    return blake2b(f"{seed}/{name}".encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
