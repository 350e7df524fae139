"""Pictures of rare classes come more often (Gupta et al., LVIS, 2019; arXiv v2, appendix B.2)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from detbox.annotations.split import Split
from detbox.messages import some

REPEAT = 4
"""random stream of what comes again, beside those of order and pictures"""


class Repeats(NamedTuple):
    """How often pictures come in an epoch, on average."""

    factors: np.ndarray
    """(N,) of the pictures, at least 1: that of the rarest class in it"""
    of_classes: np.ndarray
    """(K,) of the classes, at least 1"""

    @classmethod
    def of(cls, split: Split, threshold: float) -> Repeats:
        """A class in less than a share of the pictures has sqrt(threshold / its share).

        Args:
            split: of training.
            threshold: that share, t in the paper.
        """
        number = len(split.label_space)
        pairs = np.sort(split.owners()[split.learnt] * number + split.labels[split.learnt])
        first = np.diff(pairs, prepend=-1) > 0  # np.unique, which counts by a table, takes 20 times
        pictures, classes = np.divmod(pairs[first], max(1, number))
        shares = np.bincount(classes, minlength=number) / max(1, split.num_images)
        with np.errstate(divide="ignore"):
            rare = np.sqrt(threshold / shares)
        of_classes = np.where(shares > 0, np.maximum(1, rare), 1.0)
        factors = np.ones(split.num_images)
        np.maximum.at(factors, pictures, of_classes[classes])
        return cls(factors, of_classes)

    @property
    def length(self) -> int:
        """Pictures of an epoch, the same in each."""
        return math.ceil(round(float(self.factors.sum()), 6))

    def drawn(self, seed: int, epoch: int) -> np.ndarray:
        """What an epoch consists of, (L,): picture i as i, then as i + N, i + 2N and so on.

        Beyond the paper, what is rounded up is drawn such that all of it together is a whole number
        (systematic sampling), so epochs are of one length and every picture is in each.
        """
        number, random = len(self.factors), np.random.default_rng((seed, epoch, REPEAT))
        wanted = self.factors * (self.length / self.factors.sum())
        counts = np.floor(wanted).astype(np.int64)
        order = random.permutation(number)
        ends = np.cumsum((wanted - counts)[order])
        ends[-1] = self.length - counts.sum()
        counts[order] += np.diff(np.floor(ends + random.random()).astype(np.int64), prepend=0)
        firsts = np.repeat(np.cumsum(counts) - counts, counts)
        pictures: np.ndarray = np.repeat(np.arange(number), counts)
        pictures += number * (np.arange(self.length) - firsts)
        return pictures

    def told(self, split: Split) -> str:
        """A line of the console: how long an epoch is, and which classes are shown more often."""
        names, ranks = split.label_space.names, np.argsort(-self.of_classes, kind="stable")
        often = [
            f"{names[label]} x {self.of_classes[label]:.2g}"
            for label in ranks.tolist()
            if self.of_classes[label] > 1
        ]
        if not often:
            return "data.repeat_threshold: no class is so rare that its pictures are repeated"
        return (
            f"an epoch has {self.length} pictures out of {split.num_images}, those of rare classes "
            f"several times: {some(often)}"
        )
