"""The Metal kernels without an Apple GPU: the unmodified source, compiled for the CPU."""

from __future__ import annotations

import ctypes
import functools
import subprocess
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from detbox.ops.mps import MetalKernel

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[2]
SOURCE = REPOSITORY / "detbox" / "ops" / "ms_deform_attn.metal"
OUTCOMES = {
    1: "has no such kernel",
    2: "left a simdgroup's threads at different shuffles",
    3: "shuffled with a thread that does not exist",
}


class EmulatedLibrary:
    """What `torch.mps.compile_shader` returns, with kernels that run on tensors of the CPU.

    Attributes:
        launches: name, threads and threadgroup size of every launch so far.
    """

    def __init__(self, path: Path) -> None:
        self._launch = ctypes.CDLL(str(path)).metal_launch
        self._launch.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_uint64]
        self.launches: list[tuple[str, int, int]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        def kernel(*arguments: Tensor | list[int], threads: int, group_size: int) -> None:
            self.launches.append((name, threads, group_size))
            held = [_buffer(each) for each in arguments]
            pointers = (ctypes.c_void_p * len(held))(*(pointer for _, pointer in held))
            outcome = self._launch(name.encode(), pointers, threads)
            if outcome:
                raise RuntimeError(f"emulated launch of {name} {OUTCOMES[outcome]}")

        return kernel


def _buffer(argument: Tensor | list[int]) -> tuple[object, int]:
    """What keeps the memory alive, and its address."""
    if isinstance(argument, Tensor):
        return argument, argument.data_ptr()
    numbers = (ctypes.c_int64 * len(argument))(*argument)
    return numbers, ctypes.addressof(numbers)


@functools.cache
def library(folder: Path, version: int, source: Path = SOURCE) -> EmulatedLibrary:
    """Compile for a version of the Metal language (`__METAL_VERSION__`) into `folder`."""
    path = folder / f"metal_emulation_{version}.so"
    command = ["g++", "-std=c++14", "-O2", "-shared", "-fPIC", f"-D__METAL_VERSION__={version}"]
    # Metal has no double, so none may slip in.
    command += ["-Werror=double-promotion", "-Wno-attributes"]
    command += [f"-I{HERE}", f"-I{source.parent}"]
    subprocess.run(
        [*command, str(HERE / "metal_emulation.cpp"), "-o", str(path)], check=True, timeout=120
    )
    return EmulatedLibrary(path)


def kernel(folder: Path, version: int) -> MetalKernel:
    """The backend mps, launching into the emulation."""
    return MetalKernel(library(folder, version))
