"""How each library is compiled: which compiler, which flags, for which machines."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

COMMON = ("-O3", "-std=c++17", "-DNDEBUG")
# Not -ffast-math: a NaN must stay one. These two only drop what the C library does besides.
MATHS = ("-fPIC", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi")
OLDEST_GPU = 75
Notes = dict[str, object]
Build = Callable[[Path, Path], Notes]
PAIR = re.compile(r"(\d+)\.(\d+)([a-z]?)(\+PTX)?")


class UnavailableError(Exception):
    """This machine cannot build a library: the reason, and what mends it."""


def build_all(sources: Path, target: Path) -> dict[str, Notes]:
    """Build what can be built, and note in `build.json` what was not and why.

    Args:
        sources: the folder `csrc`.
        target: folder for the libraries.

    Returns:
        The notes, by library.
    """
    builders = {"cpu": build_cpu, "cuda": build_cuda}
    notes = {name: _tried(name, build, sources, target) for name, build in builders.items()}
    (target / "build.json").write_text(json.dumps(notes, indent=2) + "\n", encoding="utf-8")
    return notes


def _tried(name: str, build: Build, sources: Path, target: Path) -> Notes:
    try:
        notes = build(sources, target)
    except UnavailableError as missing:
        print(f"detbox-ops: without {name}: {missing}", flush=True)
        return {"reason": str(missing)}
    print(f"detbox-ops: built {name} with {notes['compiler']}", flush=True)
    return notes


def build_cpu(sources: Path, target: Path) -> Notes:
    """C++ for any CPU and, on x86, once more for those with AVX2 and FMA (x86-64-v3).

    Raises:
        UnavailableError: no compiler, or it fails.
    """
    compiler = _cxx()
    flags = [*COMMON, *MATHS]
    variants = {"kernel_baseline": ["-DDETBOX_VARIANT=kernel_baseline"]}
    if platform.machine().lower() in ("x86_64", "amd64"):
        variants["kernel_v3"] = ["-DDETBOX_VARIANT=kernel_v3", "-march=x86-64-v3"]
        flags.append("-DDETBOX_X86")
    library = target / ("libdetbox_cpu.dylib" if _is_mac() else "libdetbox_cpu.so")
    with tempfile.TemporaryDirectory() as folder:
        parts: dict[str, tuple[str, list[str]]] = {"library": ("library.cpp", [])}
        parts |= {name: ("kernel.cpp", extra) for name, extra in variants.items()}
        objects = {name: f"{folder}/{name}.o" for name in parts}
        _run_all(
            [*compiler, *flags, *extra, "-c", str(sources / "cpu" / source), "-o", objects[name]]
            for name, (source, extra) in parts.items()
        )
        _run([*compiler, "-shared", *objects.values(), "-o", str(library), "-pthread"])
    return {"file": library.name, "compiler": _version(compiler), "variants": [*variants]}


def build_cuda(sources: Path, target: Path) -> Notes:
    """CUDA for every GPU that nvcc knows, or those of `TORCH_CUDA_ARCH_LIST`; needs no GPU.

    Raises:
        UnavailableError: no nvcc, or it fails.
    """
    nvcc = [_nvcc()]
    codes = gpu_codes(nvcc[0], os.environ.get("TORCH_CUDA_ARCH_LIST", ""))
    library = target / "libdetbox_cuda.so"
    flags = [*COMMON, "-shared", "-Xcompiler", "-fPIC", "-Xlinker", "--exclude-libs,ALL"]
    flags += ["--threads", "2", "-Xfatbin", "-compress-all"]
    flags += [f"-gencode=arch={code.replace('sm', 'compute')},code={code}" for code in codes]
    _run([*nvcc, *flags, str(sources / "cuda" / "ms_deform_attn.cu"), "-o", str(library)])
    return {"file": library.name, "compiler": _version(nvcc), "codes": codes}


def gpu_codes(nvcc: str, chosen: str) -> list[str]:
    """What to compile for: `sm_90` is code for one GPU, `compute_90` for any newer one as well.

    Args:
        nvcc: asked for what it knows.
        chosen: in the manner of torch's `TORCH_CUDA_ARCH_LIST`, such as "8.0 9.0+PTX"; empty for
            all that nvcc knows.

    Raises:
        UnavailableError: nvcc knows none of them.
    """
    listed = subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True, check=False)
    known = sorted(int(each) for each in re.findall(r"compute_(\d+)$", listed.stdout, re.M))
    known = [each for each in known if each >= OLDEST_GPU]
    if not known:
        raise UnavailableError(
            f"{nvcc} knows no GPU from sm_{OLDEST_GPU} on; install CUDA 12 or later"
        )
    if not chosen.strip():
        return [*(f"sm_{each}" for each in known), f"compute_{known[-1]}"]
    codes = []
    for major, minor, letter, ptx in PAIR.findall(chosen):
        codes.append(f"sm_{major}{minor}{letter}")
        if ptx:
            codes.append(f"compute_{major}{minor}{letter}")
    if not codes:
        raise UnavailableError(
            f"TORCH_CUDA_ARCH_LIST={chosen} names no GPU; write it like '8.0 9.0+PTX'"
        )
    return codes


def _cxx() -> list[str]:
    named = os.environ.get("CXX")
    if named:
        return shlex.split(named)
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            return [name]
    raise UnavailableError(
        "no C++ compiler; `apt install g++`, or on macOS `xcode-select --install`"
    )


def _nvcc() -> str:
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    for place in (home and f"{home}/bin/nvcc", "nvcc", "/usr/local/cuda/bin/nvcc"):
        if place and (found := shutil.which(place)):
            return found
    raise UnavailableError("no nvcc on PATH or in CUDA_HOME; install the CUDA toolkit")


def _is_mac() -> bool:
    return platform.system() == "Darwin"


def _version(compiler: Sequence[str]) -> str:
    shown = subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=False)
    lines = [line for line in shown.stdout.splitlines() if re.search(r"\d+\.\d+", line)]
    return lines[-1 if "nvcc" in compiler[0] else 0] if lines else compiler[0]


def _run_all(commands: Iterable[Sequence[str]]) -> None:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_run, commands))


def _run(command: Sequence[str]) -> None:
    print(shlex.join(command), flush=True)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise UnavailableError(f"cannot run {command[0]}: {error}") from None
    print(done.stdout + done.stderr, end="", flush=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
        raise UnavailableError(f"{command[0]} failed: {errors[0]}")
