"""Hooks on the modules of a detector: what went in and out of each call, and which gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from detbox.guards.readings import Reading, changed, floats, read


@dataclass
class Call:
    """One call of one module."""

    path: str
    outputs: list[Reading] = field(default_factory=list)
    came: list[Reading] = field(default_factory=list)
    """gradients of the outputs"""
    went: list[Reading] = field(default_factory=list)
    """gradients of the inputs, and of the module's own weights"""

    @property
    def made(self) -> Reading | None:
        """The first bad gradient that this call made from finite ones."""
        if not self.came or any(each.bad for each in self.came):
            return None
        return next((each for each in self.went if each.bad), None)


class Watch:
    """Hooks on all modules below one, and what they saw, in order.

    Args:
        apart: give each call views of its inputs, whose gradients are of this call alone; of a
            tensor that several calls read, the gradient is the sum.
    """

    def __init__(self, apart: bool = False) -> None:
        self._apart = apart
        self.calls: list[Call] = []
        self.gradients: list[Reading] = []
        self._open: list[Call] = []
        self._forward = True

    @contextmanager
    def on(self, root: nn.Module) -> Iterator[None]:
        handles = []
        for path, module in root.named_modules():
            if path:
                before, after = self._hooks(path)
                handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
                handles.append(module.register_forward_hook(after))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def backward_starts(self) -> None:
        """What is called from now on is computed once more, by activation checkpointing."""
        self._forward = False

    def _hooks(self, path: str) -> tuple[Any, Any]:
        def before(module: nn.Module, inputs: Any, named: Any) -> Any:
            if not self._forward:
                return None
            self._open.append(Call(path))
            if self._apart:
                inputs, named = changed(inputs, _view), changed(named, _view)
            for label, tensor in [*floats(inputs, "input"), *floats(named, "input")]:
                self._listen(tensor, self._open[-1], label, "went")
            return inputs, named

        def after(module: nn.Module, inputs: Any, outputs: Any) -> None:
            if self._forward:
                call = self._open.pop()
                for label, tensor in floats(outputs):
                    name = f"output {label}".strip()
                    call.outputs.append(read(path, name, tensor))
                    self._listen(tensor, call, name, "came")
                self.calls.append(call)

        return before, after

    def _listen(self, tensor: Tensor, call: Call, label: str, side: str) -> None:
        if not tensor.requires_grad:
            return

        def hear(gradient: Tensor) -> None:
            reading = read(call.path, f"gradient of {label}", gradient)
            getattr(call, side).append(reading)
            self.gradients.append(reading)

        tensor.register_hook(hear)  # type: ignore[no-untyped-call]


def _view(tensor: Tensor) -> Tensor:
    return tensor.view_as(tensor) if tensor.requires_grad else tensor
