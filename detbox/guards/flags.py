"""Whether a step's losses and gradients are finite, found out on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from detbox.numerics import whole

LEAST_SCALE = 1.0
"""fp16 finds the factor on its loss by gradients that are not finite; below this it has failed"""


def step_flags(losses: Sequence[Tensor], module: nn.Module, scaler: Any | None) -> Tensor:
    """(2,) 1 where a loss, or the norm of all gradients, is not finite on any process.

    Nothing waits for the device, but for the scaler of fp16, which does so in every step itself.
    """
    gradients = [each.grad for each in module.parameters() if each.grad is not None]
    loss = ~torch.stack(list(losses)).isfinite().all()
    counts = scaler is None or scaler.get_scale() < LEAST_SCALE
    norm = whole(get_total_norm(gradients)) if gradients and counts else losses[0].new_zeros(())
    flags = torch.stack([loss, ~norm.isfinite().to(loss.device)]).float()
    if _shared():
        distributed.all_reduce(flags, distributed.ReduceOp.MAX)
    return flags


def everyone(value: Any) -> list[Any]:
    """The values of all processes, by rank."""
    if not _shared():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


class Later:
    """A tensor's values on their way to the host, which is not kept waiting for them."""

    def __init__(self, tensor: Tensor) -> None:
        self._event = None
        self._values = tensor
        if tensor.is_cuda:
            self._values = torch.empty_like(tensor, device="cpu", pin_memory=True)
            self._values.copy_(tensor, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    def read(self) -> list[float]:
        """The values; at once if the device has got so far."""
        if self._event is not None:
            self._event.synchronize()
        values: list[float] = self._values.tolist()
        return values


def skips_alone(optimizer: Optimizer) -> bool:
    """Whether an optimizer leaves out a step on the device's own word, as torch's fused ones do."""
    return all(group.get("fused") for group in optimizer.param_groups)


def _shared() -> bool:
    return (
        distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() > 1
    )
