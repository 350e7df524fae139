"""Deformable attention in C++, from the compiled library of `ops/`."""

from __future__ import annotations

from torch import Tensor

from detbox.ops import compiled
from detbox.ops.kernel import Gradients, Inputs


def missing() -> str | None:
    """Why this backend cannot run here and what mends it; None if it can."""
    return compiled.missing("cpu")


def forward(inputs: Inputs) -> Tensor:
    """(B, Q, heads * D), of the type of value."""
    return compiled.kernel("cpu").forward(inputs)


def backward(grad_output: Tensor, inputs: Inputs, references_grad: bool) -> Gradients:
    """Gradients, equal on any number of threads."""
    return compiled.kernel("cpu").backward(grad_output, inputs, references_grad)
