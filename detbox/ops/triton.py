"""The Triton backend: needs no CUDA compiler, and Triton comes with torch on Linux."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from detbox.ops.kernel import Gradients, Inputs
from detbox.ops.native import MAX_LEVELS, empty_gradients

OLDEST = (7, 0)
"""Compute capability: the oldest that the kernels compile for."""

WARPS = 4
TILE_BYTES = WARPS * 32 * 16
"""Of (queries, points, channels): each thread reads 16 bytes of each corner, the widest load."""


def missing() -> str | None:
    """Why this backend cannot run here and what mends it; None if it can."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed; `pip install triton` (on Windows `triton-windows`)"
    if torch.version.cuda is None and torch.version.hip is None:
        return (
            f"torch {torch.__version__} is a build for CPUs; "
            "install a CUDA or ROCm build, see https://pytorch.org/get-started/locally"
        )
    if not torch.cuda.is_available():
        return "torch sees no GPU; check `nvidia-smi`, the driver and CUDA_VISIBLE_DEVICES"
    found = torch.cuda.get_device_capability()
    if torch.version.hip is None and found < OLDEST:
        return (
            f"Triton needs a GPU of compute capability {OLDEST[0]}.{OLDEST[1]}, this one has "
            f"{found[0]}.{found[1]}; build the CUDA op (`make ops`) or take `op=pytorch`"
        )
    return _missing_compiler()


def _missing_compiler() -> str | None:
    # Triton compiles a small launcher on first use, which wheels for Windows bring along.
    if os.name == "nt":
        return None
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "Triton finds no C compiler; `apt install gcc`, or name one in CC"
    scheme = sysconfig.get_default_scheme().replace("posix_local", "posix_prefix")
    if not (Path(sysconfig.get_paths(scheme)["include"]) / "Python.h").is_file():
        return "Triton needs Python's C headers (Python.h); `apt install python3-dev`"
    return None


def forward(inputs: Inputs) -> Tensor:
    """(B, Q, heads * D), of the type of value."""
    value, _, references, offsets, logits = inputs
    output = value.new_empty(*offsets.shape[:2], value.shape[2] * value.shape[3])
    if output.numel():
        grid, numbers = _launch(inputs)
        with torch.cuda.device_of(value):
            _kernels().forward_kernel[grid](
                value, offsets if references is None else references, offsets, logits,
                _scratch(inputs, logits.shape[:3]), output, **numbers,
            )  # fmt: skip
    return output


def backward(grad_output: Tensor, inputs: Inputs, references_grad: bool) -> Gradients:
    """Gradients; the order of additions into that of value differs from run to run."""
    value, _, references, offsets, logits = inputs
    gradients = empty_gradients(inputs, references_grad, accumulates=True)
    if grad_output.numel():
        grid, numbers = _launch(inputs)
        shares = gradients.references
        with torch.cuda.device_of(value):
            _kernels().backward_kernel[grid](
                value, offsets if references is None else references, offsets, logits,
                _scratch(inputs, logits.shape[:3]), _scratch(inputs, logits.shape),
                grad_output, gradients.value, gradients.offsets if shares is None else shares,
                gradients.offsets, gradients.logits,
                references_grad=shares is not None, **numbers,
            )  # fmt: skip
    return gradients._replace(value=gradients.value.to(value.dtype))


def _scratch(inputs: Inputs, shape: torch.Size) -> Tensor:
    """Room for what a program of the fused form writes and reads again; none in the classic one."""
    needed = () if inputs.references is None else shape
    return inputs.value.new_empty(needed, dtype=torch.float32)


def _kernels() -> ModuleType:
    from detbox.ops import triton_kernels

    return triton_kernels


def _launch(inputs: Inputs) -> tuple[tuple[int, int, int], dict[str, Any]]:
    """Grid of (query blocks, heads, batch), and all arguments that are numbers or types."""
    value, shapes, references, offsets, _ = inputs
    kernels = _kernels()
    batch, tokens, heads, width = value.shape
    queries, points = offsets.shape[1], offsets.shape[4]
    if len(shapes) > MAX_LEVELS:
        raise ValueError(
            f"op triton takes up to {MAX_LEVELS} levels, got {len(shapes)}; choose op=pytorch"
        )
    packed = [height << 32 | columns for height, columns in shapes]
    packed += [0] * (MAX_LEVELS - len(packed))
    block_p, block_d = _power_of_two(points), _power_of_two(width)
    # A fixed tile, not a tuned one: trial runs would add to the gradient again and again.
    block_q = min(max(TILE_BYTES // (value.element_size() * block_p * block_d), 1), 64)
    language = kernels.tl
    numbers = dict(zip(kernels.SIZES, packed, strict=True)) | {
        "tokens": tokens,
        "queries": queries,
        "heads": heads,
        "width": width,
        "levels": len(shapes),
        "points": points,
        "reference_size": 0 if references is None else references.shape[-1],
        "index": language.int64 if value[:1].numel() >= 2**31 else language.int32,
        "block_q": block_q,
        "block_s": _power_of_two(len(shapes) * points),
        "block_p": block_p,
        "block_d": block_d,
        "num_warps": WARPS,
        "enable_fp_fusion": True,
    }
    return (-(-queries // block_q), heads, batch), numbers


def _power_of_two(count: int) -> int:
    """The smallest that is not below `count`."""
    return 1 << (count - 1).bit_length()
