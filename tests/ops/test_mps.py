"""The launcher of the Metal kernels, on machines without an Apple GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from emulation import emulated_metal
from op_cases import assert_parity, grad_output, inputs

from detbox.ops import mps


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A torch that sees an Apple GPU, and a backend that has compiled nothing yet."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    mps._kernel.cache_clear()
    yield
    mps._kernel.cache_clear()


@pytest.fixture
def library(emulation_folder: Path) -> emulated_metal.EmulatedLibrary:
    return emulated_metal.library(emulation_folder, 310)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has an Apple GPU")
def test_a_machine_without_an_apple_gpu_is_told_so() -> None:
    reason = mps.missing()
    assert reason is not None
    assert "Apple GPU" in reason
    assert "op=pytorch" in reason


def test_a_torch_that_cannot_compile_metal_is_told_which_can(
    apple: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(torch.mps, "compile_shader", raising=False)
    assert "pip install --upgrade 'torch>=2.7'" in str(mps.missing())


def test_a_source_that_does_not_compile_is_a_reason(
    apple: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: str) -> None:
        raise SyntaxError("program_source:1:1: error: unknown type name 'simd'\nmore")

    monkeypatch.setattr(torch.mps, "compile_shader", refuse, raising=False)
    reason = str(mps.missing())
    assert "unknown type name 'simd'" in reason
    assert "more" not in reason


def test_the_source_is_compiled_once_and_called_through_torch(
    apple: None, library: emulated_metal.EmulatedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = []

    def compile_shader(source: str) -> emulated_metal.EmulatedLibrary:
        sources.append(source)
        return library

    monkeypatch.setattr(torch.mps, "compile_shader", compile_shader, raising=False)
    assert mps.missing() is None
    assert_parity(mps, inputs(4))
    assert sources == [emulated_metal.SOURCE.read_text(encoding="utf-8")]


def test_a_head_gets_a_power_of_two_of_threads_within_one_simdgroup(
    library: emulated_metal.EmulatedLibrary,
) -> None:
    before = len(library.launches)
    for queries in (5, 9):
        mps.MetalKernel(library).forward(inputs(2, width=12, queries=queries))
    # Three vectors of channels take four threads; there are 2 * queries * 2 such heads.
    launches = [("attend_forward_float_float", 80, 80), ("attend_forward_float_float", 144, 128)]
    assert library.launches[before:] == launches
    lanes = [mps._lanes(width) for width in (1, 4, 5, 16, 32, 33, 64, 128, 256)]
    assert lanes == [1, 1, 2, 4, 8, 16, 16, 32, 32]


@pytest.mark.parametrize("size", [0, 2])
def test_a_gradient_that_nobody_wants_is_not_written(
    library: emulated_metal.EmulatedLibrary, size: int
) -> None:
    untouched = torch.full((1000,), 7.0)

    class Watched:
        def __getattr__(self, name: str) -> Callable[..., None]:
            def kernel(*arguments: torch.Tensor | list[int], **threads: int) -> None:
                getattr(library, name)(*arguments[:6], untouched, *arguments[7:], **threads)

            return kernel

    given = inputs(size)
    mps.MetalKernel(Watched()).backward(grad_output(given), given, False)
    assert (untouched == 7).all()


@pytest.mark.parametrize(("batch", "queries"), [(2, 0), (0, 5)])
def test_nothing_to_do_launches_nothing(
    library: emulated_metal.EmulatedLibrary, batch: int, queries: int
) -> None:
    kernel, given = mps.MetalKernel(library), inputs(2, batch=batch, queries=queries)
    before = len(library.launches)
    kernel.backward(kernel.forward(given), given, True)
    assert len(library.launches) == before


def test_double_precision_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got torch\.float64.*convert with \.float\(\)"):
        mps.MetalKernel(None).forward(inputs(2, dtype=torch.float64))


def test_more_elements_than_an_index_counts_are_refused() -> None:
    value = torch.zeros(1).expand(2, 2**26, 2, 16)
    with pytest.raises(ValueError, match="split the batch"):
        mps.MetalKernel(None).forward(inputs(2)._replace(value=value))
