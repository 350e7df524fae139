"""The CUDA library builds for every architecture, without register spills and without a GPU."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from op_cases import inputs

from detbox.ops.native import NativeKernel

SOURCE = Path(__file__).parents[2] / "ops" / "csrc" / "cuda" / "ms_deform_attn.cu"
ARCHS = ("80", "86", "89", "90", "100", "120")
FLAGS = ("-O3", "-std=c++17", "-shared", "-Xcompiler", "-fPIC", "-Xptxas", "-v", "--threads", "2")
TYPES, WIDTHS, DIRECTIONS = 3, 4, 2
REPORT = re.compile(
    r"Compiling entry function '(?P<kernel>\w+)' for 'sm_(?P<arch>\d+)'.*?"
    r"(?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads",
    re.DOTALL,
)

pytestmark = pytest.mark.slow


class Build(NamedTuple):
    library: Path
    reports: list[dict[str, str]]  # kernel, arch, bytes of spill stores and loads
    archs: tuple[str, ...]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Compile for those of ARCHS that this nvcc knows."""
    if not shutil.which("nvcc"):
        pytest.skip("needs nvcc")
    known = _output("nvcc", "--list-gpu-arch").split()
    archs = tuple(arch for arch in ARCHS if f"compute_{arch}" in known)
    targets = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    library = tmp_path_factory.mktemp("cuda") / "detbox_cuda.so"
    log = _output("nvcc", *FLAGS, *targets, str(SOURCE), "-o", str(library))
    return Build(library, [match.groupdict() for match in REPORT.finditer(log)], archs)


def test_no_kernel_spills_registers(build: Build) -> None:
    spills = [each for each in build.reports if each["stores"] != "0" or each["loads"] != "0"]
    assert not spills


def test_every_architecture_has_every_kernel(build: Build) -> None:
    kernels = {arch: set[str]() for arch in build.archs}
    for report in build.reports:
        kernels[report["arch"]].add(report["kernel"])
    assert {len(each) for each in kernels.values()} == {TYPES * WIDTHS * DIRECTIONS}


def test_the_library_names_its_architectures(build: Build) -> None:
    library = ctypes.CDLL(str(build.library))
    library.detbox_cuda_archs.restype = ctypes.c_char_p
    capabilities = [f"{arch[:-1]}.{arch[-1]}" for arch in build.archs]
    assert library.detbox_cuda_archs().decode().split() == capabilities


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_a_call_fails_with_a_reason(build: Build) -> None:
    kernel = NativeKernel(build.library, accumulates=True)
    with pytest.raises(RuntimeError, match=r"NVIDIA driver|no CUDA-capable device"):
        kernel.forward(inputs(0))


def _output(*command: str) -> str:
    """What a command prints on both streams."""
    return subprocess.run(
        command, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ).stdout
