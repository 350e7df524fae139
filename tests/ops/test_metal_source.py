"""What is particular to the Metal source: shuffles, memory and address spaces."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from emulation import emulated_metal
from op_cases import assert_close, grad_output, inputs, results

from detbox.ops.mps import MetalKernel


@pytest.mark.parametrize("width", [16, 5])
@pytest.mark.parametrize("shift", [0, 1])
def test_nothing_beyond_a_tensor_is_read(emulation_folder: Path, width: int, shift: int) -> None:
    kernel, given = emulated_metal.kernel(emulation_folder, 310), inputs(2, width=width)
    value = given.value
    storage = torch.full((value.numel() + 64,), float("nan"))
    held = storage[32 + shift :][: value.numel()].view_as(value).copy_(value)
    within = results(kernel, given._replace(value=held))
    assert_close(within, results(kernel, given), torch.float32)


@pytest.mark.usefixtures("emulation_folder")
def test_threads_apart_at_a_shuffle_are_noticed(tmp_path: Path) -> None:
    """The emulation would see what a real simdgroup leaves undefined."""
    loop = "float3 sum = float3(0.0f);\n  for (int i = 0; i < 4 && cell.inside"
    leave = f"if (!cell.inside) return float3(0.0f);\n  {loop}"
    broken = mutated(tmp_path, loop, leave)
    apart, given = MetalKernel(emulated_metal.library(tmp_path, 310, broken)), inputs(2)
    with pytest.raises(RuntimeError, match="different shuffles"):
        apart.backward(grad_output(given), given, False)


def mutated(folder: Path, old: str, new: str) -> Path:
    """A copy of the source with a mistake."""
    source = emulated_metal.SOURCE.read_text()
    assert source.count(old) == 1
    path = folder / emulated_metal.SOURCE.name
    path.write_text(source.replace(old, new))
    return path


def clang(source: Path, version: int) -> subprocess.CompletedProcess[str]:
    """Check a source with device and constant memory as address spaces of their own."""
    if shutil.which("clang") is None:
        pytest.skip("the check of address spaces needs clang")
    spaces = [
        ("thread", ""),
        *(
            (name, f"__attribute__((address_space({number})))")
            for number, name in ((1, "device"), (2, "constant"))
        ),
    ]
    command = ["clang", "-x", "c++", "-std=c++14", "-fsyntax-only", "-Wall", "-Wextra", "-Werror"]
    command += ["-Wno-unknown-attributes", "-Wno-ignored-attributes"]
    command += [f"-D{name}={space}" for name, space in spaces]
    command += [f"-D__METAL_VERSION__={version}", f"-I{emulated_metal.HERE}", str(source)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("version", [240, 300, 310])
def test_address_spaces_are_right(version: int) -> None:
    result = clang(emulated_metal.SOURCE, version)
    assert result.returncode == 0, result.stderr


def test_every_pointer_names_its_memory() -> None:
    """Metal demands it; clang guesses it where a template argument can absorb it."""
    source = re.sub(r"//.*|<[\w, ]*>", "", emulated_metal.SOURCE.read_text())
    pointers = re.findall(r"([^(),;{}]*\w[*&])[ )]", source)
    assert len(pointers) > 50
    assert [each for each in pointers if not re.search(r"\b(device|constant)\b", each)] == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("device const float* reference = references", "constant float* reference = references"),
        ("*(device const vec<T, 4>*)(row + channel)", "*(const vec<T, 4>*)(row + channel)"),
        ("Head head_of(uint thread_index, constant", "Head head_of(uint thread_index, device"),
        (
            "void add(device Total* total, float amount) {\n  atomic",
            "void add(constant Total* total, float amount) {\n  atomic",
        ),
    ],
)
def test_a_wrong_address_space_is_refused(tmp_path: Path, old: str, new: str) -> None:
    result = clang(mutated(tmp_path, old, new), 310)
    assert result.returncode
    assert "error" in result.stderr
