"""`python -m detbox.ops`, and the benchmark tool, in a small size."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from detbox.ops import __main__ as table
from detbox.ops import pytorch
from detbox.ops.examples import example
from detbox.ops.kernel import Inputs

TOOL = Path(__file__).parents[2] / "tools" / "benchmark_op.py"


def test_every_backend_is_listed_with_its_state(capsys: pytest.CaptureFixture[str]) -> None:
    assert table.main() == 0
    shown = capsys.readouterr().out
    for name in ("cpu", "cuda", "triton", "mps", "pytorch"):
        assert name in shown
    assert "right to" in shown
    assert "on cpu: op=" in shown


def test_a_backend_with_wrong_numbers_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from detbox.ops import cpu

    def wrong(inputs: Inputs) -> torch.Tensor:
        return pytorch.forward(inputs) * 1.01

    monkeypatch.setattr(cpu, "missing", lambda: None)
    monkeypatch.setattr(cpu, "forward", wrong)
    monkeypatch.setattr(cpu, "backward", pytorch.backward)
    assert table.main() == 1
    assert "wrong to" in capsys.readouterr().out


def test_the_benchmark_measures_every_backend_and_writes_it_down(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tool: dict[str, Any] = runpy.run_path(str(TOOL))
    tool["CASES"].clear()
    tool["CASES"]["tiny"] = lambda: example(((4, 5), (2, 3)), 7)
    monkeypatch.setitem(tool["write"].__globals__, "FOLDER", tmp_path)
    results = tool["measure_op"]("cpu", "float32", rounds=2)
    tool["show"](results)
    tool["write"](results, tool["describe"]("cpu"), "here")
    assert "tiny" in capsys.readouterr().out
    stored = json.loads((tmp_path / "here.json").read_text())
    assert {each["call"] for each in stored["results"]} == {"forward", "forward+backward"}
    baseline = [each for each in stored["results"] if each["backend"] == "pytorch"]
    assert [each["ratio"] for each in baseline] == [1.0, 1.0]
    assert stored["machine"]["torch"] == f"torch {torch.__version__}"
    with Image.open(tmp_path / "here.png") as picture:
        assert picture.width == 960
