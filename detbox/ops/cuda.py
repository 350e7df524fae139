"""Deformable attention in CUDA, from the compiled library of `ops/`."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from detbox.ops import compiled
from detbox.ops.kernel import Gradients, Inputs


def missing() -> str | None:
    """Why this backend cannot run here and what mends it; None if it can."""
    if not torch.cuda.is_available():
        return "torch sees no CUDA device; look at nvidia-smi, CUDA_VISIBLE_DEVICES and the driver"
    return compiled.missing("cuda") or _built_for_others()


def _built_for_others() -> str | None:
    archs = compiled.kernel("cuda").library.detbox_cuda_archs
    archs.restype = ctypes.c_char_p
    built = [tuple(map(int, each.split("."))) for each in archs().decode().split()]
    major, minor = torch.cuda.get_device_capability()
    # Code for a GPU also runs on later ones of its generation; the newest is built as PTX as well.
    if any(a == major and b <= minor for a, b in built) or (major, minor) > max(built):
        return None
    return (
        f"detbox-ops was built for GPUs {archs().decode()}, this one is {major}.{minor}; "
        f"run TORCH_CUDA_ARCH_LIST={major}.{minor} {compiled.INSTALL}"
    )


def forward(inputs: Inputs) -> Tensor:
    """(B, Q, heads * D), of the type of value."""
    with torch.cuda.device_of(inputs.value):
        stream = torch.cuda.current_stream().cuda_stream
        return compiled.kernel("cuda").forward(inputs, stream)


def backward(grad_output: Tensor, inputs: Inputs, references_grad: bool) -> Gradients:
    """Gradients; the order of additions into that of value differs from run to run."""
    with torch.cuda.device_of(inputs.value):
        stream = torch.cuda.current_stream().cuda_stream
        return compiled.kernel("cuda").backward(grad_output, inputs, references_grad, stream)
