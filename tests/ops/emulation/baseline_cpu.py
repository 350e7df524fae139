"""The CPU kernels as machines without AVX2 run them: those of other makers and old ones."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

from detbox.ops.native import NativeKernel

SOURCES = Path(__file__).parents[3] / "ops" / "csrc" / "cpu"
COMPILE = ("g++", "-O1", "-std=c++17", "-shared", "-fPIC", "-Wno-psabi", "-pthread")


@functools.cache
def kernel(folder: Path) -> NativeKernel:
    """Compile into `folder`."""
    library = folder / "baseline_cpu.so"
    sources = [str(SOURCES / name) for name in ("kernel.cpp", "library.cpp")]
    command = [*COMPILE, "-DDETBOX_VARIANT=kernel_baseline", *sources, "-o", str(library)]
    subprocess.run(command, check=True)
    return NativeKernel(library, accumulates=False)
