"""The CUDA kernels without a GPU: the unmodified device code, compiled for the CPU."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

from detbox.ops.native import NativeKernel

HERE = Path(__file__).parent
SOURCES = HERE.parents[2] / "ops" / "csrc"
COMPILE = ("g++", "-std=c++17", "-O2", "-shared", "-fPIC", "-Wno-unknown-pragmas")
# Fibers jump between stacks, which glibc's fortified longjmp takes for an error.
PLAIN_JUMPS = "-U_FORTIFY_SOURCE"


@functools.cache
def kernel(folder: Path, arch: int) -> NativeKernel:
    """Compile the kernels as a GPU of `arch` (`__CUDA_ARCH__`) would see them.

    Args:
        folder: where the library is written.
        arch: from 900 on gradients of value are added up in vectors, before that one by one.
    """
    library = folder / f"emulated_cuda_{arch}.so"
    command = (*COMPILE, PLAIN_JUMPS, f"-DEMULATED_ARCH={arch}", f"-I{SOURCES}")
    source = HERE / "cuda_emulation.cpp"
    subprocess.run([*command, str(source), "-o", str(library)], check=True)
    return NativeKernel(library, accumulates=True)
