"""Precision that a computation needs at least."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor in float32 where it has less; float64 stays."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def in_float32(part: Callable[[Tensor], Tensor], tensor: Tensor) -> Tensor:
    """What a part makes of a tensor outside of autocast, which would leave it half precision."""
    kind = tensor.device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return part(tensor)
    with torch.autocast(kind, enabled=False):
        return part(at_least_float32(tensor))


def whole(tensor: Tensor) -> Tensor:
    """A tensor of which each process holds a share, put together; any other as it is.

    All processes have to ask.
    """
    together: Callable[[], Tensor] | None = getattr(tensor, "full_tensor", None)
    return tensor if together is None else together()
