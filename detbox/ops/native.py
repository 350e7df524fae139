"""Calls into a compiled library of `ops/`: its C interface needs no headers of torch."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detbox.errors import MachineError
from detbox.ops.kernel import Gradients, Inputs

ABI = 1
"""The number of `ops/csrc/interface.h` that this file speaks."""

MAX_LEVELS = 16
TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
SIZES = ("batch", "tokens", "heads", "width", "queries", "levels", "points", "reference_size")
TENSORS = ("value", "references", "offsets", "logits", "output")
GRADIENTS = ("grad_output", "grad_value", "grad_references", "grad_offsets", "grad_logits")


class _Problem(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in (*SIZES, "type", "threads")),
        ("shapes", ctypes.c_int64 * (2 * MAX_LEVELS)),
    ]


class _Tensors(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in (*TENSORS, *GRADIENTS)]


class NativeKernel:
    """The forward and backward call of one library.

    Args:
        path: the library.
        accumulates: whether it adds up the gradient of value in a zeroed float32 buffer; otherwise
            it writes every element, in the type of value.

    Raises:
        OSError: no library that this machine can load.
        AttributeError: a library of something else.
        RuntimeError: a library that speaks another version of the interface.
    """

    def __init__(self, path: Path, *, accumulates: bool) -> None:
        self.library = ctypes.CDLL(str(path))
        self._accumulates = accumulates
        self.library.detbox_error.restype = ctypes.c_char_p
        found = self.library.detbox_abi()
        if found != ABI:
            raise MachineError(
                f"{path.name} speaks version {found} of the op interface, this detbox needs {ABI}"
            )

    def forward(self, inputs: Inputs, stream: int | None = None) -> Tensor:
        """(B, Q, heads * D), of the type of value; `stream`: of CUDA."""
        value = inputs.value
        output = value.new_empty(*inputs.offsets.shape[:2], value.shape[2] * value.shape[3])
        self._call(self.library.detbox_forward, inputs, stream, output=output)
        return output

    def backward(
        self,
        grad_output: Tensor,
        inputs: Inputs,
        references_grad: bool,
        stream: int | None = None,
    ) -> Gradients:
        """Gradients for the gradient of the output, which has its type; `stream`: of CUDA."""
        gradients = empty_gradients(inputs, references_grad, accumulates=self._accumulates)
        named = {f"grad_{name}": each for name, each in gradients._asdict().items()}
        function = self.library.detbox_backward
        self._call(function, inputs, stream, grad_output=grad_output, **named)
        return gradients._replace(value=gradients.value.to(inputs.value.dtype))

    def _call(
        self, function: Any, inputs: Inputs, stream: int | None, **others: Tensor | None
    ) -> None:
        tensors = {**inputs._asdict(), **others}
        pointers = {k: each.data_ptr() for k, each in tensors.items() if isinstance(each, Tensor)}
        problem, addresses = _problem(inputs), _Tensors(**pointers)
        code = function(ctypes.byref(problem), ctypes.byref(addresses), ctypes.c_void_p(stream))
        if code:
            reason = self.library.detbox_error(code).decode()
            raise RuntimeError(f"deformable attention failed: {reason}")


def empty_gradients(inputs: Inputs, references_grad: bool, *, accumulates: bool) -> Gradients:
    """Memory for gradients; that of value as zeros in float32 if kernels add it up there."""
    value, references = inputs.value, None
    if inputs.references is not None and references_grad:
        size = inputs.references.shape[-1]
        references = inputs.references.new_empty(*inputs.offsets.shape[:4], size)
    return Gradients(
        torch.zeros_like(value, dtype=torch.float32) if accumulates else torch.empty_like(value),
        references,
        torch.empty_like(inputs.offsets),
        torch.empty_like(inputs.logits),
    )


def _problem(inputs: Inputs) -> _Problem:
    batch, tokens, heads, width = inputs.value.shape
    references = inputs.references
    sizes = [size for shape in inputs.shapes for size in shape]
    return _Problem(
        batch=batch,
        tokens=tokens,
        heads=heads,
        width=width,
        queries=inputs.offsets.shape[1],
        levels=len(inputs.shapes),
        points=inputs.offsets.shape[4],
        reference_size=0 if references is None else references.shape[-1],
        type=TYPES[inputs.value.dtype],
        threads=torch.get_num_threads(),
        shapes=(ctypes.c_int64 * (2 * MAX_LEVELS))(*sizes),
    )
