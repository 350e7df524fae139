"""What the sums of losses are divided by: the objects of a whole optimizer step.

A step may learn from several batches (accumulation) in several processes. Its gradient is that of
one large batch only if every sum is divided by what all of them hold together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, distributed

from detbox.structures import Normalized, PredictionSet, StepObjects


class StepShares(NamedTuple):
    """Divisors of a step, per batch and process: Lightning and DDP take means over both."""

    objects: Tensor
    """() at least 1 in the whole step"""
    pictures: Tensor
    """()"""
    matched: Mapping[int, Tensor] | None = None
    """queries of a picture -> () how many of all find an object, one each; None: the step is one
    batch, where a loss counts them itself"""

    def divided(self, loss: Tensor | Normalized, predictions: PredictionSet) -> Tensor:
        """A loss's sum over its share of the step."""
        if not isinstance(loss, Normalized):
            return loss / self.objects
        divisor = loss.divisor
        if self.matched is not None and _is_matched_once(predictions):
            count = predictions.logits.shape[1]
            others = count * self.pictures - self.matched[count]
            divisor = loss.matched_weight * self.matched[count] + loss.other_weight * others
        # A set without a query to learn from, as of an empty batch, has nothing to divide by.
        return loss.total / divisor.clamp(min=torch.finfo(divisor.dtype).tiny)


def step_shares(
    step: StepObjects, sets: Iterable[PredictionSet], device: torch.device, *, alone: bool = False
) -> StepShares:
    """The divisors of a step; never waits for the device.

    Args:
        step: its objects in this process.
        sets: of predictions, for the numbers of their queries.
        device: of the losses.
        alone: True: other processes are not asked, who may not be at the same place.
    """
    world = 1 if alone or step.whole else _world_size()
    widths = sorted({each.logits.shape[1] for each in sets if _is_matched_once(each)})
    matched = [sum(min(count, width) for count in step.counts) for width in widths]
    shared = torch.tensor([float(sum(step.counts)), float(len(step.counts)), *map(float, matched)])
    shared = shared.to(device, non_blocking=True)
    if world > 1:
        distributed.all_reduce(shared)
    objects = (shared[0] / world).clamp(min=1) / step.batches
    if world * step.batches == 1:
        return StepShares(objects, shared[1])
    pictures, *queries = (shared[1:] / (world * step.batches)).unbind()
    return StepShares(objects, pictures, dict(zip(widths, queries, strict=True)))


def _is_matched_once(predictions: PredictionSet) -> bool:
    return predictions.matches is None and predictions.repeats == 1


def _world_size() -> int:
    ready = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if ready else 1
