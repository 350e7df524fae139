"""Run one batch again and find where the first value came up that is not finite.

Every module is watched: what goes in, what comes out, and on the way back the gradients of both.
Modules answer for what they make: one whose outputs are the first that are not finite, or one whose
inputs or weights get such a gradient though its outputs got a finite one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from detbox.errors import DivergedError
from detbox.guards.bundle import MicroBatch
from detbox.guards.draws import drawn_again
from detbox.guards.hooks import Watch
from detbox.guards.readings import Reading, floats, read
from detbox.structures import Batch

SHOWN = 5
"""readings before the first bad one"""
HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class Trace(NamedTuple):
    """What a batch came to."""

    loss: float
    first: Reading | None
    """of the first tensor that is not finite; None: all are"""
    before: tuple[Reading, ...]
    """the last finite ones before it in time, and the weights of its module"""
    largest: Reading | None
    """the gradient of a weight with the largest values"""


def traced(
    batches: Sequence[MicroBatch], module: nn.Module, precision: str, scale: float = 1.0
) -> list[Trace]:
    """Traces of the batches of a step, up to the first that is bad."""
    traces: list[Trace] = []
    for each in batches:
        traces.append(trace(module, each.batch, each.draws, precision, scale))
        if traces[-1].first is not None:
            break
    return traces


def trace(
    module: nn.Module,
    batch: Batch,
    draws: dict[str, Any],
    precision: str,
    scale: float = 1.0,
) -> Trace:
    """Compute loss and gradients of a batch as a training step would; nothing is changed but norms.

    Args:
        module: with a `training_step`, in training mode, on the device of the batch.
        batch: of the step.
        draws: random numbers that the step met.
        precision: as `trainer.precision` has it.
        scale: what the loss is multiplied with before the way back, as fp16 asks for.
    """
    given = [read("batch", label, tensor) for label, tensor in floats(batch)]
    weights = {name: read(*_parted(name), each) for name, each in module.named_parameters()}
    if first := next((each for each in [*given, *weights.values()] if each.bad), None):
        return Trace(math.nan, first, (), None)

    def run(watch: Watch) -> tuple[float, list[Reading]]:
        return _run(module, watch, batch, draws, precision, scale)

    watch = Watch()
    loss, gradients = run(watch)
    largest = max(gradients, key=lambda each: max(-each.low, each.high), default=None)
    if found := _first_output(watch, loss):
        index, first = found
        finite = [r for call in watch.calls[:index] for r in call.outputs if not r.bad]
    elif any(each.bad for each in gradients):
        run(watch := Watch(apart=True))
        first = _guilty(watch) or next(each for each in gradients if each.bad)
        finite = watch.gradients[: _place(first, watch.gradients)]
    else:
        return Trace(loss, None, (), largest)
    own = [each for each in weights.values() if each.module == first.module]
    kept = [each for each in finite if not each.bad][-SHOWN:]
    return Trace(loss, first, (*kept, *own), largest)


def _run(
    module: nn.Module,
    watch: Watch,
    batch: Batch,
    draws: dict[str, Any],
    precision: str,
    scale: float,
) -> tuple[float, list[Reading]]:
    """Loss, and the gradients of the weights; of a loss that is not finite there are none."""
    device = batch.images.pixels.device
    with drawn_again(draws, device), watch.on(module):
        try:
            with _autocast(precision, device):
                loss: Tensor = module.training_step(batch, 0)["loss"]  # type: ignore[operator]
        except DivergedError:  # the matcher saw what the hooks have seen before
            return math.nan, []
        total = float(loss.detach())
        if not math.isfinite(total):
            return total, []
        watch.backward_starts()
        batches = batch.step.batches if batch.step else 1
        learnt = {name: each for name, each in module.named_parameters() if each.requires_grad}
        # Not `backward`: gradients of the run and hooks of its processes stay as they are.
        given = torch.autograd.grad(
            loss / batches * scale, list(learnt.values()), allow_unused=True
        )
    return total, list(_told(watch, dict(zip(learnt, given, strict=True))))


def _told(watch: Watch, gradients: dict[str, Tensor | None]) -> Iterator[Reading]:
    """Readings of the weights' gradients, also told to the last call of each weight's module."""
    last = {call.path: call for call in watch.calls}
    for name, gradient in gradients.items():
        if gradient is None:
            continue
        owner, tensor = _parted(name)
        reading = read(owner, f"gradient of {tensor}", gradient)
        if owner in last:
            last[owner].went.append(reading)
        yield reading


def _first_output(watch: Watch, loss: float) -> tuple[int, Reading] | None:
    """The first call with a bad output, and that output; or the loss itself."""
    for index, call in enumerate(watch.calls):
        if reading := next((each for each in call.outputs if each.bad), None):
            return index, reading
    if math.isfinite(loss):
        return None
    return len(watch.calls), Reading("criterion", "matching or loss", (), 1, math.nan, math.nan)


def _guilty(watch: Watch) -> Reading | None:
    """The innermost call that made a bad gradient from finite ones, the first on the way back."""
    made = [call for call in watch.calls if call.made]
    inner = [
        call for call in made if not any(other.path.startswith(f"{call.path}.") for other in made)
    ]
    places = [(_place(call.made, watch.gradients), call.made) for call in inner]
    return min(places, key=lambda each: each[0])[1] if places else None


def _place(reading: Reading | None, heard: list[Reading]) -> int:
    return next((i for i, each in enumerate(heard) if each is reading), len(heard))


def _parted(name: str) -> tuple[str, str]:
    """A parameter's module and its name there."""
    owner, _, tensor = name.rpartition(".")
    return owner, tensor


def _autocast(precision: str, device: torch.device) -> Any:
    half = HALF.get(precision)
    return torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None)
