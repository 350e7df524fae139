"""What is known of every training step, for the rules that look for trouble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

LOSS = "loss"
"""name of the whole loss among the terms"""


class StepRecord(NamedTuple):
    """What is known of one batch, all of it on the host."""

    step: int = 0
    """optimizer step, from 1"""
    terms: Mapping[str, float] = {}
    """`loss`, and every term of the predictions that inference reads"""
    objects: int = 0
    """in the batch"""
    rate: float = 0.0
    """the highest learning rate"""
    learnt: float = 0.0
    """steps so far, each counted as the share of the full rate that it had"""
    top: float | None = None
    """the highest class score of the batch; None: not looked at"""
    pairs: tuple[tuple[int, int], ...] = ()
    """label and best class of each object that a box was found for, where it was looked at"""

    def summed(self, term: str) -> float:
        """A term before it was divided by the objects."""
        return self.terms[term] * max(self.objects, 1)


class Window(NamedTuple):
    """The last batches of a run."""

    records: Sequence[StepRecord]
    """oldest first, at least one"""
    names: tuple[str, ...]
    """of the classes, in label order"""
    after: int
    """steps at the full rate after which a training should have learnt something"""

    @property
    def last(self) -> StepRecord:
        """The batch that was done."""
        return self.records[-1]

    def past(self, count: int) -> Sequence[StepRecord]:
        """The last so many batches; empty where there were fewer."""
        return list(self.records)[-count:] if len(self.records) >= count else ()


def middle(term: str, records: Sequence[StepRecord]) -> float:
    """Median of a term over the records that have it, of which there is one at least."""
    return median(each.terms[term] for each in records if term in each.terms)
