"""Compare random initial values by their distribution."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SIGMAS = 6.0
"""sampling errors of mean and spread that chance may explain"""
REACH = 2.0
"""how far the extremes of two samples may lie apart, in standard deviations"""


class Statistics(NamedTuple):
    """Mean, standard deviation and extremes of a tensor."""

    mean: float
    std: float
    low: float
    high: float


def statistics_of(tensor: Tensor) -> Statistics:
    """The statistics of a tensor's values."""
    values = tensor.detach().double().flatten()
    spread = values.std(correction=0)
    return Statistics(*(float(each) for each in (values.mean(), spread, *values.aminmax())))


def unlikeness(ours: Statistics, recorded: Statistics, count: int) -> float:
    """Largest deviation as a share of what chance explains; at most 1 for one distribution.

    Constant tensors must agree to 1e-5.
    """
    gaps = torch.tensor(ours) - torch.tensor(recorded)
    if recorded.std < 1e-6:
        return float(gaps.abs().max()) / 1e-5
    error = SIGMAS * recorded.std / count**0.5
    limits = torch.tensor([error * 2**0.5, error, *[REACH * recorded.std] * 2])
    return float((gaps.abs() / limits).max())
