"""What is particular to the CUDA kernels: which of them is chosen, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from emulation import emulated_cuda
from op_cases import HEADS, SHAPES, assert_parity, grad_output, inputs
from torch import Tensor

from detbox.ops.native import NativeKernel


@pytest.fixture(scope="module", params=[800, 900])
def kernel(request: pytest.FixtureRequest, emulation_folder: Path) -> NativeKernel:
    """As GPUs without and with vector atomics see it."""
    return emulated_cuda.kernel(emulation_folder, request.param)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_tensors_that_begin_between_16_byte_borders_are_read_right(
    kernel: NativeKernel, dtype: torch.dtype
) -> None:
    given = inputs(4, dtype=dtype)
    moved: dict[str, Any] = {
        k: _shifted(each) for k, each in given._asdict().items() if isinstance(each, Tensor)
    }
    assert_parity(kernel, given._replace(**moved))


def test_more_samples_than_a_vector_kernel_holds_take_another(kernel: NativeKernel) -> None:
    assert_parity(kernel, inputs(4, points=100))


def test_more_samples_than_shared_memory_holds_are_refused(kernel: NativeKernel) -> None:
    given = inputs(4, points=1536 // len(SHAPES) + 1)
    with pytest.raises(RuntimeError, match="at most 1536 samples"):
        kernel.backward(grad_output(given), given, False)


def test_images_too_large_for_32_bits_are_refused(kernel: NativeKernel) -> None:
    value = torch.zeros(1).expand(2, 1 << 22, HEADS, 256)
    given = inputs(4, shapes=((1, 1),) * 3)._replace(value=value, shapes=((1 << 11, 1 << 11),) * 3)
    with pytest.raises(RuntimeError, match=r"at most 2\^30 elements"):
        kernel.forward(given)


def test_doubles_are_refused(kernel: NativeKernel) -> None:
    with pytest.raises(RuntimeError, match="got float64"):
        kernel.forward(inputs(4, dtype=torch.float64))


def _shifted(tensor: Tensor) -> Tensor:
    """The same numbers, one element behind the begin of an allocation."""
    return torch.cat([tensor.new_zeros(1), tensor.flatten()])[1:].view(tensor.shape)
