"""Precision that a computation needs at least."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor in float32 where it has less; float64 stays."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
