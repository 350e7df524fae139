"""System load: what `/proc` says, in shares and GiB, and nothing where it says nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from training_toys import ToyModule, loader, trainer

from detbox.console.lines import quiet
from detbox.tracking import load


def test_figures_are_those_of_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  10 0 5 70 15 0 0 0 0 0\ncpu0 10 0 5 70 15 0 0 0 0 0\n")
    assert load._ticks(tmp_path) == (15, 100)
    assert load.cpu((15, 100), (30, 120)) == {"cpu_share": 0.75}
    (tmp_path / "self").mkdir()
    (tmp_path / "self/statm").write_text(f"9 {2**30 // os.sysconf('SC_PAGE_SIZE')} 1 1 0 1 0\n")
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    3145728 kB\n")
    assert load.memory(tmp_path) == {"memory_gib": 1.0, "memory_free_gib": 3.0}


def test_where_nothing_is_known_nothing_is_told(tmp_path: Path) -> None:
    assert load._ticks(tmp_path) == (0, 0)
    assert load.memory(tmp_path) == {}
    assert load.cpu((3, 5), (3, 5)) == {}
    assert load.cpu((0, 0), (0, 0)).keys() <= {"cpu_share"}
    assert load.gpu_memory(torch.device("cpu")) == {}


@pytest.mark.skipif(not load.PROC.is_dir(), reason="needs /proc")
def test_a_fit_logs_them_as_numbers_that_can_be(tmp_path: Path) -> None:
    quiet()
    fit = trainer(tmp_path, callbacks=[load.SystemLoad()], log_every_n_steps=4)
    fit.fit(ToyModule(forward=0.02), loader(4), loader(1))
    found = {name: float(value) for name, value in fit.callback_metrics.items()}
    assert 0 <= found["system/cpu_share"] <= 1
    assert 0.05 < found["system/memory_gib"] < 64
    assert found["system/memory_free_gib"] > 0
