"""Which backend runs, who may say so, and what a person is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import torch

from detbox import ops
from detbox.ops import cpu, cuda, mps, selection, triton

FLOAT, HALF, DOUBLE = torch.float32, torch.float16, torch.float64
EVERY = (cpu, cuda, triton, mps)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every backend runs, nothing was decided, and nobody has said anything."""
    for module in EVERY:
        monkeypatch.setattr(module, "missing", lambda: None)
    monkeypatch.delenv(selection.VARIABLE, raising=False)
    monkeypatch.setattr(selection, "_configured", "auto")
    monkeypatch.setattr(selection, "_said", set())
    selection._decide_once.cache_clear()
    yield
    selection._decide_once.cache_clear()


def lose(monkeypatch: pytest.MonkeyPatch, *modules: object) -> None:
    """Let backends be missing."""
    for module in modules:
        monkeypatch.setattr(module, "missing", lambda: "it is gone; run mend")


@pytest.mark.parametrize(
    ("device", "lost", "wanted"),
    [
        ("cuda", (), "cuda"),
        ("cuda", (cuda,), "triton"),
        ("cuda", (cuda, triton), "pytorch"),
        ("mps", (), "mps"),
        ("mps", (mps,), "pytorch"),
        ("cpu", (), "cpu"),
        ("cpu", (cpu,), "pytorch"),
        ("xpu", (), "pytorch"),
    ],
)
def test_auto_takes_the_first_that_runs(
    monkeypatch: pytest.MonkeyPatch, device: str, lost: tuple[object, ...], wanted: str
) -> None:
    lose(monkeypatch, *lost)
    assert selection.choose(None, device, FLOAT) == wanted


def test_a_type_that_a_backend_does_not_compute_goes_to_the_next() -> None:
    assert selection.choose("auto", "cpu", HALF) == "pytorch"
    assert selection.choose("auto", "cuda", DOUBLE) == "pytorch"


def test_more_levels_than_kernels_hold_go_to_pytorch() -> None:
    assert selection.choose("auto", "cpu", FLOAT, levels=17) == "pytorch"
    with pytest.raises(RuntimeError, match="cpu takes up to 16 levels, got 17; try op=auto"):
        selection.choose("cpu", "cpu", FLOAT, levels=17)


def test_the_argument_outranks_the_variable_and_that_the_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert selection.choose(None, "cpu", FLOAT) == "cpu"
    ops.configure("pytorch")
    assert selection.choose(None, "cpu", FLOAT) == "pytorch"
    monkeypatch.setenv(selection.VARIABLE, "cpu")
    assert selection.choose(None, "cpu", FLOAT) == "cpu"
    assert selection.choose("pytorch", "cpu", FLOAT) == "pytorch"


def test_a_chosen_backend_that_is_missing_never_falls_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lose(monkeypatch, cpu)
    told = "was asked for, but it is gone; run mend"
    with pytest.raises(RuntimeError, match=f"backend='cpu' {told}"):
        selection.choose("cpu", "cpu", FLOAT)
    with pytest.raises(RuntimeError, match=f"op=cpu {told}"):
        ops.configure("cpu")
    monkeypatch.setenv(selection.VARIABLE, "cpu")
    with pytest.raises(RuntimeError, match=f"DETBOX_OP=cpu {told}"):
        ops.configure("auto")


def test_a_chosen_backend_refuses_tensors_that_it_cannot_take() -> None:
    with pytest.raises(RuntimeError, match=r"cuda takes tensors on cuda, got cpu; try op=auto"):
        selection.choose("cuda", "cpu", FLOAT)
    with pytest.raises(RuntimeError, match=r"cpu computes in .*float64, got float16; try op=auto"):
        selection.choose("cpu", "cpu", HALF)


def test_an_unknown_name_is_refused_wherever_it_comes_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = "one of auto, cpu, cuda, triton, mps, pytorch, got"
    with pytest.raises(ValueError, match=f"{told} backend='cudaa'"):
        selection.choose("cudaa", "cpu", FLOAT)
    with pytest.raises(ValueError, match=f"{told} op=cudaa"):
        ops.configure("cudaa")
    monkeypatch.setenv(selection.VARIABLE, "cudaa")
    with pytest.raises(ValueError, match=f"{told} DETBOX_OP=cudaa"):
        ops.configure("auto")


def test_a_refused_configuration_changes_nothing() -> None:
    ops.configure("pytorch")
    with pytest.raises(ValueError, match="must be one of"):
        ops.configure("cudaa")
    assert selection.choose(None, "cpu", FLOAT) == "pytorch"


def test_one_line_names_the_path_and_why_not_a_faster_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lose(monkeypatch, cuda)
    with caplog.at_level(logging.INFO, "detbox"):
        for dtype in (FLOAT, HALF, FLOAT):
            selection.choose(None, "cuda", dtype)
    assert caplog.messages == [
        "deformable attention on cuda runs as triton (not cuda: it is gone; run mend)"
    ]


def test_onnx_export_takes_pure_pytorch_whatever_was_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    assert selection.choose("cpu", "cpu", FLOAT) == "pytorch"
