"""`curves.png`: drawn from the rows of the whole run, and never a reason to stop."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image
from training_toys import TRACKING, ToyEvaluation, ToyModule, context, loader, trainer

from detbox.callbacks import assemble
from detbox.console.lines import quiet
from detbox.tracking import curves
from detbox.tracking.loggers import build_loggers
from detbox.tracking.metrics_file import Line, read_lines


def fit(folder: Path) -> None:
    quiet()
    loggers = build_loggers({"name": "csv"}, folder, {})
    callbacks = assemble({**TRACKING, "curves": {"name": "curves"}}, context(folder, loggers))
    run = trainer(folder, logger=loggers, callbacks=[ToyEvaluation(), *callbacks], max_epochs=2)
    run.fit(ToyModule(), loader(4), loader(1))


def test_a_run_leaves_the_curves_of_its_metrics_and_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fit(tmp_path)
    told = capfd.readouterr()
    assert ("curves" not in told.out, told.err) == (True, "")
    found = np.array(Image.open(tmp_path / "curves.png").convert("RGB"))
    curves.draw(read_lines(tmp_path / "metrics.csv"), tmp_path / "again.png")
    again = np.array(Image.open(tmp_path / "again.png").convert("RGB"))
    assert (found == again).all()  # nothing but the file decides
    assert found.shape == (750, 1200, 3)


def test_each_graph_has_its_curves_and_leaves_out_undefined_ap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, tuple[list[float], list[float]]] = {}
    plot = Axes.plot

    def seen(self: Axes, steps: list[float], values: list[float], **how: Any) -> None:
        drawn[how["label"]] = (steps, values)
        plot(self, steps, values, **how)

    monkeypatch.setattr(Axes, "plot", seen)
    rows = [
        Line(0, {"train/loss": 9.0, "train/grad_norm": 2.0, "lr/base": 0.0, "loss_final/l1": 1.0}),
        Line(1, {"train/loss": 8.0, "train/grad_norm": float("nan"), "lr/base": 1e-4}),
        Line(1, {"val/AP": -1.0, "val_raw/AP": 0.25, "val/AP75": 0.5}),
        Line(3, {"val/AP": 0.5, "val_raw/AP": 0.75}),
    ]
    curves.draw(rows, tmp_path / "curves.png")
    assert set(drawn) == {"train/loss", "train/grad_norm", "lr/base", "val/AP", "val_raw/AP"}
    assert drawn["train/loss"] == ([1, 2], [9.0, 8.0])
    assert drawn["val/AP"] == ([4], [0.5])
    assert drawn["val_raw/AP"] == ([2, 4], [0.25, 0.75])


def test_a_failure_is_said_once_and_the_training_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(curves.CurvesFile.__init__, "__defaults__", (0.0,))
    with caplog.at_level(logging.WARNING):
        fit(tmp_path)
    assert caplog.text.count("curves.png cannot be drawn, and the training goes on") == 1
    assert not (tmp_path / "curves.png").exists()
    assert len(read_lines(tmp_path / "metrics.csv")) > 8
