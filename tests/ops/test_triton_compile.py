"""What can be known of the Triton backend without a GPU: it compiles, and says what it lacks."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from emulation import interpreted_triton
from op_cases import assert_parity, grad_output, inputs

from detbox.ops import triton as backend

SHAPES = ((4, 6), (1, 1))
# Reference size, type, head width, compute capability.
CASES = (
    (0, torch.float32, 32, 90),
    (0, torch.float16, 16, 80),
    (2, torch.bfloat16, 32, 90),
    (2, torch.float32, 33, 80),
    (4, torch.float32, 64, 90),
    (4, torch.bfloat16, 32, 80),
    (4, torch.float16, 5, 90),
)


class Compiler:
    """Stands for a GPU that is not there: `kernel[grid](...)` compiles what would be launched."""

    def __init__(self, kernels: Any) -> None:
        self.built: list[Any] = []
        self.device = mock.Mock()
        self.device.get_current_stream.return_value = 0
        self.aim(90)
        stand_ins = {
            name: mock.MagicMock(__getitem__=self._build(getattr(kernels, name)))
            for name in ("forward_kernel", "backward_kernel")
        }
        self.kernels = SimpleNamespace(**{**vars(kernels), **stand_ins})

    def aim(self, capability: int) -> None:
        """Compile for another GPU from now on; Triton keeps what it built by device."""
        from triton.backends.compiler import GPUTarget

        self.device.get_current_target.return_value = GPUTarget("cuda", capability, 32)
        self.device.get_current_device.return_value = capability

    def _build(self, kernel: Any) -> Any:
        def at(_: Any, grid: tuple[int, int, int]) -> Any:
            return lambda *tensors, **numbers: self.built.append(
                kernel.warmup(*tensors, grid=grid, **numbers)
            )

        return at


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Compiler]:
    """The backend, compiling in place of launching."""
    pytest.importorskip("triton", reason="triton is not installed: it comes with torch for CUDA")
    from triton.runtime.driver import driver

    from detbox.ops import triton_kernels

    compiler = Compiler(triton_kernels)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(backend, "_kernels", lambda: compiler.kernels)
    before = dict(vars(driver))
    driver.set_active(compiler.device)
    yield compiler
    vars(driver).clear()
    vars(driver).update(before)


@pytest.mark.slow
@pytest.mark.parametrize(("reference_size", "dtype", "width", "capability"), CASES)
def test_kernels_compile_for_gpus_that_are_not_there(
    compiler: Compiler, reference_size: int, dtype: torch.dtype, width: int, capability: int
) -> None:
    compiler.aim(capability)
    given = inputs(reference_size, dtype=dtype, width=width, points=4, shapes=SHAPES)
    backend.forward(given)
    backend.backward(grad_output(given), given, reference_size > 0)
    assert len(compiler.built) == 2
    for kernel in compiler.built:
        assert f".target sm_{capability}" in kernel.asm["ptx"]
        assert kernel.asm["cubin"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channels_are_read_in_pieces_of_sixteen_bytes(
    compiler: Compiler, dtype: torch.dtype
) -> None:
    backend.forward(inputs(2, dtype=dtype, width=32, points=4, shapes=SHAPES))
    wide = re.findall(r"ld\.global\S*\.v4\.\w*32", compiler.built[0].asm["ptx"])
    assert len(wide) == 4 * len(SHAPES)


def test_another_picture_size_compiles_nothing(compiler: Compiler) -> None:
    for shapes in (SHAPES, ((1, 1), (1, 1)), ((16, 16), (8, 8))):
        for queries in (1, 16, 37):
            backend.forward(inputs(2, width=32, shapes=shapes, queries=queries))
    assert len({id(kernel) for kernel in compiler.built}) == 1


def test_the_interpreter_leaves_triton_able_to_compile(compiler: Compiler) -> None:
    given = inputs(2, width=3)
    assert_parity(interpreted_triton.InterpretedKernel(), given)
    backend.forward(given)
    assert "cubin" in compiler.built[0].asm


def test_more_levels_than_the_kernels_take_are_refused(compiler: Compiler) -> None:
    with pytest.raises(ValueError, match="up to 16 levels, got 17; choose op=pytorch"):
        backend.forward(inputs(2, shapes=((1, 1),) * 17))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: nothing is missing")
def test_without_a_gpu_the_reason_and_the_remedy_are_named() -> None:
    reason, remedy = (backend.missing() or "").split("; ")
    assert reason
    assert re.search("install|check", remedy)


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has all that Triton needs."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(Path, "is_file", lambda path: True)


@pytest.mark.usefixtures("complete")
def test_nothing_is_missing_where_all_is_there() -> None:
    assert backend.missing() is None


@pytest.mark.usefixtures("complete")
@pytest.mark.parametrize(
    ("owner", "name", "found", "said"),
    [
        (importlib.util, "find_spec", lambda name: None, "triton is not installed; `pip install"),
        (torch.version, "cuda", None, "is a build for CPUs; install a CUDA or ROCm build"),
        (torch.cuda, "is_available", lambda: False, "sees no GPU; check `nvidia-smi`"),
        (torch.cuda, "get_device_capability", lambda: (6, 1), "this one has 6.1; build the CUDA"),
        (shutil, "which", lambda name: None, "no C compiler; `apt install gcc`"),
        (Path, "is_file", lambda path: False, "(Python.h); `apt install python3-dev`"),
    ],
)
def test_what_is_missing_is_named_with_the_step_that_mends_it(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, found: Any, said: str
) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(owner, name, found)
    assert said in (backend.missing() or "")
