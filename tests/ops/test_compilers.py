"""The set-up of the compiled op: with the compilers that are there, and on without the others."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from detbox.ops import pytorch
from detbox.ops.examples import example
from detbox.ops.native import NativeKernel

OPS = Path(__file__).parents[2] / "ops"
FakeNvcc = Callable[[str], str]


@pytest.fixture(scope="module")
def compilers() -> ModuleType:
    """`ops/compilers.py`, which no package holds."""
    spec = importlib.util.spec_from_file_location("compilers", OPS / "compilers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def nvcc(tmp_path: Path) -> FakeNvcc:
    """Make a program that says what nvcc would say of the GPUs it knows."""

    def make(known: str) -> str:
        program = tmp_path / "nvcc"
        lines = "\n".join(f"echo compute_{each}" for each in known.split())
        program.write_text(f"#!/bin/sh\n{lines}\n")
        program.chmod(0o755)
        return str(program)

    return make


def test_every_gpu_that_nvcc_knows_is_built_for(compilers: ModuleType, nvcc: FakeNvcc) -> None:
    codes = compilers.gpu_codes(nvcc("50 120 75 90"), "")
    assert codes == ["sm_75", "sm_90", "sm_120", "compute_120"]


def test_the_list_of_torch_is_honoured(compilers: ModuleType, nvcc: FakeNvcc) -> None:
    codes = compilers.gpu_codes(nvcc("75 90"), "8.0;9.0a+PTX 12.0")
    assert codes == ["sm_80", "sm_90a", "compute_90a", "sm_120"]


def test_a_list_without_a_gpu_is_refused(compilers: ModuleType, nvcc: FakeNvcc) -> None:
    with pytest.raises(compilers.UnavailableError, match="names no GPU; write it like"):
        compilers.gpu_codes(nvcc("75 90"), "Hopper")


def test_an_nvcc_from_before_these_gpus_is_refused(compilers: ModuleType, nvcc: FakeNvcc) -> None:
    with pytest.raises(compilers.UnavailableError, match="install CUDA 12 or later"):
        compilers.gpu_codes(nvcc("35 50"), "")


def test_without_compilers_the_set_up_goes_on_and_notes_why(
    compilers: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("CXX", "CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    notes = compilers.build_all(OPS / "csrc", tmp_path)
    assert "no C++ compiler; `apt install g++`" in notes["cpu"]["reason"]
    assert "install the CUDA toolkit" in notes["cuda"]["reason"]
    assert json.loads((tmp_path / "build.json").read_text()) == notes


def test_a_compiler_that_fails_is_named_with_its_first_error(
    compilers: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    failing = tmp_path / "broken-c++"
    failing.write_text("#!/bin/sh\necho fatal error: no header >&2\nexit 1\n")
    failing.chmod(0o755)
    monkeypatch.setenv("CXX", str(failing))
    with pytest.raises(
        compilers.UnavailableError, match=r"broken-c.. failed: fatal error: no header"
    ):
        compilers.build_cpu(OPS / "csrc", tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("c++"), reason="needs a C++ compiler")
def test_the_cpu_library_is_built_and_right(compilers: ModuleType, tmp_path: Path) -> None:
    notes = compilers.build_cpu(OPS / "csrc", tmp_path)
    kernel = NativeKernel(tmp_path / str(notes["file"]), accumulates=False)
    inputs = example(((4, 5), (2, 3)), 7)
    torch.testing.assert_close(kernel.forward(inputs), pytorch.forward(inputs))
