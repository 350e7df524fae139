"""Problems for kernels of the op, and the float64 reference that they are held against."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from detbox.ops import reference
from detbox.ops.kernel import Inputs, Kernel

SHAPES = ((5, 7), (3, 4), (1, 1), (1, 6), (2, 1))
HEADS = 2
TOLERANCE = {
    torch.float64: 1e-11,
    torch.float32: 1e-5,
    torch.float16: 2e-3,
    torch.bfloat16: 1e-2,
}


class Results(NamedTuple):
    """The output and all gradients; that of references summed over heads."""

    output: Tensor
    value: Tensor
    references: Tensor | None
    offsets: Tensor
    logits: Tensor


def inputs(
    size: int,
    *,
    width: int = 16,
    dtype: torch.dtype = torch.float32,
    batch: int = 2,
    queries: int = 7,
    points: int = 3,
    shapes: Sequence[tuple[int, int]] = SHAPES,
) -> Inputs:
    """Two heads, places also outside the levels; `size` numbers per reference, 0: classic."""
    torch.manual_seed(0)
    wide = torch.promote_types(dtype, torch.float32)
    tokens = sum(rows * columns for rows, columns in shapes)
    value = torch.randn(batch, tokens, HEADS, width).to(dtype)
    samples = (batch, queries, HEADS, len(shapes), points)
    logits, offsets = torch.randn(samples), 2 * torch.randn(*samples, 2)
    if size == 0:
        locations = (0.5 + 0.2 * offsets).to(wide)
        weights = logits.flatten(-2).softmax(-1).view(samples)
        return Inputs(value, tuple(shapes), None, locations, weights.to(dtype))
    references = (1.2 * torch.rand(batch, queries, len(shapes), size) - 0.1).to(wide)
    return Inputs(value, tuple(shapes), references, offsets.to(dtype), logits.to(dtype))


def grad_output(given: Inputs) -> Tensor:
    """A gradient of the output, of its shape and type."""
    torch.manual_seed(1)
    columns = given.value.shape[2] * given.value.shape[3]
    return torch.randn(*given.offsets.shape[:2], columns).to(given.value.dtype)


def results(kernel: Kernel, given: Inputs) -> Results:
    """What a kernel computes for `grad_output(given)`."""
    output = kernel.forward(given)
    value, shares, offsets, logits = kernel.backward(grad_output(given), given, True)
    references = None if shares is None else shares.sum(2)
    return Results(output, value, references, offsets, logits)


def expected(given: Inputs) -> Results:
    """The same by the definition, in float64."""
    tensors = {k: each for k, each in given._asdict().items() if isinstance(each, Tensor)}
    wide: dict[str, Any] = {k: each.double().requires_grad_() for k, each in tensors.items()}
    value, shapes, references, offsets, logits = given._replace(**wide)
    if references is None:
        output = reference.ms_deform_attn(value, shapes, offsets, logits)
    else:
        output = reference.ms_deform_attn_fused(value, shapes, references, offsets, logits)
    gradients = torch.autograd.grad(output, [*wide.values()], grad_output(given).double())
    named: dict[str, Any] = {"references": None, **dict(zip(wide, gradients, strict=True))}
    return Results(output.detach(), **named)


def assert_parity(kernel: Kernel, given: Inputs, wanted: Results | None = None) -> None:
    """A kernel gives what the definition gives: for `given`, or else `wanted`."""
    assert_close(results(kernel, given), wanted or expected(given), given.value.dtype)


def assert_close(got: Results, wanted: Results, dtype: torch.dtype) -> None:
    """Equal within what `dtype` can hold, beside the largest number of each tensor."""
    for name, one, other in zip(Results._fields, got, wanted, strict=True):
        if one is None or other is None:
            assert one is other, name
            continue
        assert one.shape == other.shape, name
        largest = other.abs().max().item() if other.numel() else 0.0
        limit = TOLERANCE[dtype] * max(1.0, largest)
        torch.testing.assert_close(
            one.double(),
            other.double(),
            rtol=0,
            atol=limit,
            msg=partial("{}: {}".format, name),
        )
