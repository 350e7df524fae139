"""Entropic optimal transport on the device (Cuturi, NIPS 2013), many problems at once.

The schedule and the over-relaxation are those of the JAX port of DETR.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

PERIOD = 10
"""iterations between two looks at the error"""


class Plan(NamedTuple):
    """The solution of P transport problems between N rows and M columns."""

    coupling: Tensor
    """(P, N, M) transported mass"""
    row_potential: Tensor
    """(P, N)"""
    column_potential: Tensor
    """(P, M)"""
    errors: Tensor
    """(P, I) L1 error of the column masses, every `PERIOD` iterations; -1 after the end"""
    converged: Tensor
    """(P,)"""


@dataclass(frozen=True)
class Transport:
    """Sinkhorn iterations in the log domain with a falling epsilon.

    Args:
        epsilon: final strength of the entropy, in units of the cost.
        start: the first epsilon is so many times the final one.
        decay: factor on epsilon per iteration, until the final one.
        iterations: most there may be.
        threshold: L1 error of the column masses that ends them.
        momentum_from: iteration from which on updates are over-relaxed (Lehmann et al., 2022).
    """

    epsilon: float = 1e-3
    start: float = 50.0
    decay: float = 0.9
    iterations: int = 1000
    threshold: float = 1e-2
    momentum_from: int = 100

    def __call__(self, cost: Tensor, mass: Tensor) -> Plan:
        """Solve all problems together; one that has converged stays as it is.

        Args:
            cost: (P, N, M).
            mass: (M,) of the columns, summing to 1; rows share it evenly.
        """
        rows, columns = cost.new_zeros(cost.shape[:2]), cost.new_zeros(cost.shape[::2])
        errors = cost.new_full((len(cost), self.iterations // PERIOD), -1.0)
        done = torch.zeros(len(cost), 1, dtype=torch.bool, device=cost.device)
        log_mass = mass.log()
        for period in range(self.iterations // PERIOD):
            weight = self._relaxation(errors, period)
            moved = self._updated(cost, log_mass, rows, columns, period, weight)
            rows, columns = (
                torch.where(done, old, new) for old, new in zip((rows, columns), moved, strict=True)
            )
            error = (self.coupling(cost, rows, columns).sum(1) - mass).abs().sum(1, keepdim=True)
            errors[:, period] = torch.where(done, -1.0, error)[:, 0]
            done = done | (error < self.threshold)
            # Elsewhere the host would have to wait for the device to know.
            if done.device.type == "cpu" and done.all():
                break
        return Plan(self.coupling(cost, rows, columns), rows, columns, errors, done[:, 0])

    def coupling(self, cost: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Mass (P, N, M) that potentials (P, N) and (P, M) transport."""
        return ((rows[:, :, None] + columns[:, None] - cost) / self.epsilon).exp()

    def _updated(
        self,
        cost: Tensor,
        log_mass: Tensor,
        rows: Tensor,
        columns: Tensor,
        period: int,
        weight: Tensor | float,
    ) -> tuple[Tensor, Tensor]:
        for step in range(period * PERIOD, (period + 1) * PERIOD):
            epsilon = self.epsilon * max(self.start * self.decay**step, 1.0)
            reached = ((rows[:, :, None] - cost) / epsilon).logsumexp(1)
            columns = columns + weight * (epsilon * (log_mass - reached) - columns)
            reached = ((columns[:, None] - cost) / epsilon).logsumexp(2)
            rows = rows + weight * (epsilon * (-math.log(rows.shape[1]) - reached) - rows)
        return rows, columns

    def _relaxation(self, errors: Tensor, period: int) -> Tensor | float:
        """Weight of an update, (P, 1), from how fast the errors fell before `momentum_from`."""
        first = self.momentum_from // PERIOD
        if period < first:
            return 1.0
        ratio = (errors[:, first - 1] / errors[:, first - 2]).clamp(max=0.99)
        return 2 / (1 + (1 - ratio ** (1 / PERIOD)).sqrt())[:, None]
