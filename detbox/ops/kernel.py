"""What every backend takes and gives: one interface for both forms of the op."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor


class Inputs(NamedTuple):
    """Contiguous tensors of one type and device; places have float32 at least.

    The classic form has no references: then offsets are locations, which are places, and logits
    are weights.
    """

    value: Tensor
    """(B, S, heads, D)"""
    shapes: tuple[tuple[int, int], ...]
    """(h, w) per level"""
    references: Tensor | None
    """(B, Q, L, 2 | 4), places"""
    offsets: Tensor
    """(B, Q, heads, L, P, 2)"""
    logits: Tensor
    """(B, Q, heads, L, P)"""


class Gradients(NamedTuple):
    """Of the inputs with the same names, and of their types."""

    value: Tensor
    references: Tensor | None
    """(B, Q, heads or 1, L, 2 | 4): a share per head; None where nobody wants it"""
    offsets: Tensor
    logits: Tensor


class Kernel(Protocol):
    """A backend's two calls; modules of this package and classes alike."""

    def forward(self, inputs: Inputs) -> Tensor:
        """(B, Q, heads * D), of the type of value."""

    def backward(self, grad_output: Tensor, inputs: Inputs, references_grad: bool) -> Gradients:
        """Gradients for the gradient of the output, which has its type."""
