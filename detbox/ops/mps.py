"""Deformable attention on Apple GPUs: Metal source that torch compiles when first used."""

from __future__ import annotations

import functools
from array import array
from collections.abc import Sequence
from importlib import resources
from typing import Any

import torch
from torch import Tensor

from detbox.ops.kernel import Gradients, Inputs
from detbox.ops.native import MAX_LEVELS, empty_gradients

TYPES = {torch.float32: "float", torch.float16: "half", torch.bfloat16: "bfloat"}
SIMDGROUP = 32
GROUP = 128
"""Threads per threadgroup: whole simdgroups, and few enough for any kernel's registers."""


def missing() -> str | None:
    """Why this backend cannot run here and what mends it; None if it can."""
    if not torch.backends.mps.is_available():
        return "torch sees no Apple GPU; run on Apple silicon with macOS 14 or choose op=pytorch"
    if not hasattr(torch.mps, "compile_shader"):
        return (
            f"torch {torch.__version__} cannot compile Metal source; "
            "run pip install --upgrade 'torch>=2.7'"
        )
    try:
        _kernel()
    except (RuntimeError, SyntaxError) as error:
        reason = str(error).partition("\n")[0]
        return f"the Metal source does not compile ({reason}); update macOS or choose op=pytorch"
    return None


def forward(inputs: Inputs) -> Tensor:
    """(B, Q, heads * D), of the type of value."""
    return _kernel().forward(inputs)


def backward(grad_output: Tensor, inputs: Inputs, references_grad: bool) -> Gradients:
    """Gradients; the order of additions into that of value differs from run to run."""
    return _kernel().backward(grad_output, inputs, references_grad)


@functools.cache
def _kernel() -> MetalKernel:
    source = resources.files(__package__).joinpath("ms_deform_attn.metal")
    return MetalKernel(torch.mps.compile_shader(source.read_text(encoding="utf-8")))


class MetalKernel:
    """The forward and backward call of one compiled library.

    Args:
        library: has the kernels of `ms_deform_attn.metal` as attributes, to be called with
            tensors, lists of 64-bit integers, `threads=` and `group_size=`.
    """

    def __init__(self, library: Any) -> None:
        self._library = library

    def forward(self, inputs: Inputs) -> Tensor:
        """As `detbox.ops.mps.forward`."""
        value = inputs.value
        output = value.new_empty(*inputs.offsets.shape[:2], value.shape[2] * value.shape[3])
        self._launch("attend_forward", inputs, output)
        return output

    def backward(self, grad_output: Tensor, inputs: Inputs, references_grad: bool) -> Gradients:
        """As `detbox.ops.mps.backward`."""
        gradients = empty_gradients(inputs, references_grad, accumulates=True)
        # The softmax's second pass reads what its first one wrote, and needs all its digits.
        logits = gradients.logits.float()
        written = gradients._replace(logits=logits)
        self._launch("attend_backward", inputs, grad_output, *written)
        dtype = inputs.value.dtype
        return written._replace(value=gradients.value.to(dtype), logits=logits.to(dtype))

    def _launch(self, name: str, inputs: Inputs, output: Tensor, *gradients: Tensor | None) -> None:
        value, shapes, references, offsets, logits = inputs
        # Every place of a kernel needs a buffer, even one that it never touches.
        nothing = value.new_empty(1, dtype=torch.float32)
        tensors = value, references, offsets, logits, output, *gradients
        buffers = [nothing if each is None else each for each in tensors]
        _check(value.dtype, buffers)
        reference_size = 0 if references is None else references.shape[-1]
        lanes = _lanes(value.shape[3])
        problem = [*value.shape[1:], offsets.shape[1], *offsets.shape[3:5], reference_size, lanes]
        starts = value.storage_offset(), output.storage_offset(), value.shape[3]
        problem += [all(each % 4 == 0 for each in starts)]
        problem += [len(gradients) > 1 and gradients[1] is not None]
        problem += [size for shape in shapes for size in shape]
        threads = offsets.shape[0] * offsets.shape[1] * offsets.shape[2] * lanes
        if threads:
            kernel = getattr(self._library, f"{name}_{TYPES[value.dtype]}_{TYPES[offsets.dtype]}")
            kernel(*buffers, _packed(problem), threads=threads, group_size=min(GROUP, threads))


def _lanes(width: int) -> int:
    """Threads per head: a power of two with a vector of 4 channels for each."""
    vectors = -(-width // 4)
    return min(SIMDGROUP, 1 << (vectors - 1).bit_length())


def _packed(problem: Sequence[int]) -> list[int]:
    """Pairs of 32-bit integers: torch passes integers to kernels as 64-bit ones."""
    fields = [*problem, *[0] * (10 + 2 * MAX_LEVELS - len(problem))]
    return array("q", array("i", fields).tobytes()).tolist()


def _check(dtype: torch.dtype, buffers: Sequence[Tensor]) -> None:
    if dtype not in TYPES:
        raise ValueError(
            f"op mps takes float32, float16 or bfloat16, got {dtype}; Apple GPUs have no "
            "float64: convert with .float() or choose op=pytorch on the CPU"
        )
    largest = max(each.numel() for each in buffers)
    if largest >= 2**31:
        raise ValueError(
            f"op mps counts elements in 31 bits, got a tensor of {largest}; split the batch"
        )
