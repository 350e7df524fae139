"""The loss of a validation: that of all its pictures as one batch, however they were cut."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detbox.criterion import LossTerms
from detbox.structures import StepObjects

UNDIVIDED = StepObjects((1,), whole=True)
"""a step that leaves sums over objects as they are"""


class ValidationLoss:
    """Sums of all terms, and what they are to be divided by in the end; stays on the device."""

    def __init__(self) -> None:
        self._sums: Tensor | None = None

    def add(self, terms: LossTerms, objects: int | None) -> None:
        """Take in a batch.

        Args:
            terms: of a criterion that was told `UNDIVIDED`.
            objects: in the batch; None: it does not count, but the process may have no other.
        """
        count = terms.total.new_tensor(float(objects or 0))
        own = [count if each.divisor is None else each.divisor for each in terms.entries]
        totals = [
            each.value if each.divisor is None else each.value * each.divisor
            for each in terms.entries
        ]
        sums = torch.stack([torch.stack(totals), torch.stack(own)]).detach()  # (2, terms)
        sums = torch.zeros_like(sums) if objects is None else sums
        self._sums = sums if self._sums is None else self._sums + sums

    def total(self, together: Callable[[Tensor], Tensor]) -> Tensor | None:
        """() the loss, and begin anew; None: there was no batch.

        Args:
            together: a tensor's sum over all processes.
        """
        if self._sums is None:
            return None
        totals, divisors = together(self._sums)
        self._sums = None
        return torch.where(divisors > 0, totals / divisors, totals).sum()
