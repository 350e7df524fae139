"""TensorBoard: the scalars of the other loggers at the same steps, and no point twice."""

from __future__ import annotations

import csv
import logging
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_toys import TRACKING, ToyEvaluation, ToyModule, context, loader, trainer
from wandb_helpers import OfflineRun, records

from detbox.callbacks import assemble
from detbox.console.lines import quiet
from detbox.errors import MachineError
from detbox.runfile import RunCheckpoint
from detbox.structures import LabelSpace
from detbox.tracking.loggers import build_loggers, close_loggers
from detbox.tracking.wandb_history import STEP

Points = dict[str, dict[int, float]]


def points(folder: Path) -> Points:
    """What TensorBoard shows of a run folder; no tag may have a step twice."""
    events = EventAccumulator(str(folder / "tensorboard"), {"scalars": 0}).Reload()
    found: Points = {}
    for tag in events.Tags()["scalars"]:
        steps = [each.step for each in events.Scalars(tag)]
        assert steps == sorted(set(steps)), tag
        found[tag] = {each.step: each.value for each in events.Scalars(tag)}
    return found


def finished(folder: Path) -> OfflineRun:
    """The W&B run, once its process has written the end."""
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    deadline = time.monotonic() + 30
    while not any(each.HasField("exit") for each in records(path)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return OfflineRun(folder)


def columns(rows: Iterable[Mapping[str, Any]], step: str) -> Points:
    """Rows of a history by name; those that are no scalars are left out."""
    found: Points = defaultdict(dict)
    for row in rows:
        for name, value in row.items():
            is_shown = name != step and not name.startswith("_") and value != ""
            if is_shown and not isinstance(value, dict):
                found[name][int(row[step])] = float(value)
    return found


@pytest.mark.slow
def test_all_loggers_have_the_same_scalars_at_the_same_steps(tmp_path: Path) -> None:
    quiet()
    settings = {"name": "wandb", "mode": "offline"}
    loggers = build_loggers({"name": "tensorboard"}, tmp_path, {"model": {"name": "dino"}})
    loggers += build_loggers(settings, tmp_path / "other", {})[1:]
    run = context(tmp_path, loggers)
    callbacks = [ToyEvaluation(run.figures), *assemble(TRACKING, run)]
    fit = trainer(tmp_path, logger=loggers, callbacks=callbacks, max_epochs=2)
    fit.fit(ToyModule(), loader(3), loader(2))
    close_loggers(loggers)
    found = points(tmp_path)
    with (tmp_path / "metrics.csv").open() as file:
        table = columns(csv.DictReader(file), "step")
    history = columns(finished(tmp_path / "other").history, STEP)
    assert {"val/AP", "loss_final/l1", "lr/backbone", "time/data", "epoch"} <= set(found)
    assert set(found) == set(table) == set(history)
    for name, figures in found.items():
        assert table[name] == history[name]
        assert figures == pytest.approx(table[name], rel=1e-6)  # event files have float32


@pytest.mark.parametrize(("saved_at", "lost"), [(4, False), (6, False), (6, True), (0, False)])
def test_a_run_that_goes_on_has_each_point_once_and_loses_none(
    tmp_path: Path, saved_at: int, lost: bool
) -> None:
    train(tmp_path, range(6), lost)
    if saved_at:
        trainer_state = {"optimizer_states": [], "global_step": saved_at}
        path = tmp_path / "checkpoints" / "last.ckpt"
        RunCheckpoint({}, LabelSpace(("cat",), (1,)), {}, trainer_state).write(path)
    train(tmp_path, range(saved_at, 9))
    found = points(tmp_path)
    assert found["train/loss"] == found["epoch"] == {step: float(step) for step in range(9)}
    assert found["val/AP"] == {2: 2.0, 5: 5.0, 8: 8.0}


def train(folder: Path, steps: range, lost: bool = False) -> None:
    """Log steps with a validation behind each third, as a run does that may end between.

    Args:
        folder: of the run.
        steps: first the one that the checkpoint leaves to do.
        lost: the last step came to `metrics.csv` alone.
    """
    path = folder / "checkpoints" / "last.ckpt"
    config = {"ckpt": str(path) if path.exists() else None, "resume": "auto"}
    loggers = build_loggers({"name": "tensorboard"}, folder, config)
    before = steps.start - 1
    for step in [*([before] if before in (2, 5) else []), *steps]:
        rows = [{"train/loss": step, "epoch": step}] if step in steps else []
        rows += [{"val/AP": step, "epoch": step}] if step % 3 == 2 else []
        for row in rows:
            for logger in loggers[: 1 if lost and step == steps[-1] else 2]:
                logger.log_metrics(dict(row), step)
                logger.save()
    close_loggers(loggers)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MachineError, match=r"pip install 'detbox\[tensorboard\]'"):
        build_loggers({"name": "tensorboard"}, tmp_path, {})


def test_what_cannot_be_written_ends_no_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics, events = build_loggers({"name": "tensorboard"}, tmp_path, {})
    monkeypatch.setattr(vars(events)["_writer"], "add_scalar", lambda *_: 1 / 0)
    with caplog.at_level(logging.WARNING):
        for step in range(3):
            events.log_metrics({"train/loss": 1.0}, step)
            events.save()
    assert caplog.text.count("TensorBoard: lost, the figures go on into metrics.csv") == 1
    close_loggers([metrics, events])
