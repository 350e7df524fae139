"""A run that goes on: one metrics.csv and one W&B run, and no figure of a step twice in either."""

from __future__ import annotations

import csv
import os
import signal
import struct
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import forked_run
import pytest
from wandb_helpers import FakeServer, _items, records

from detbox.runfile import RunCheckpoint
from detbox.structures import LabelSpace
from detbox.tracking import wandb_history
from detbox.tracking.loggers import build_loggers, close_loggers
from detbox.tracking.resumed import Once, resumed_at
from detbox.tracking.wandb_history import STEP

PER_EPOCH, END = 3, 9
FIGURES = {
    *((step, "train/loss") for step in range(END)),
    *((step, "val/AP") for step in range(END) if step % PER_EPOCH == PER_EPOCH - 1),
}


def rows_of(step: int, first: int) -> list[dict[str, float]]:
    """What a training logs behind a step; that before the first is done but for its validation."""
    epoch = {"epoch": float(step // PER_EPOCH)}
    train, val = {"train/loss": step + 1.0, **epoch}, {"val/AP": (step + 1) / 16, **epoch}
    return [*([train] if step >= first else []), *([val] if (step, "val/AP") in FIGURES else [])]


def train(
    folder: Path, first: int, last: int = END, by_kill: bool = False, mode: str = "offline"
) -> int:
    """Log from step `first` on to the last one, in a process of its own that ends or is killed."""
    process = os.fork()
    if process:
        return process
    try:
        os.environ.pop("WANDB_SERVICE", None)  # of a test before: a run's process has its own
        path = folder / "checkpoints" / "last.ckpt"
        settings = {"name": "wandb", "mode": mode, "finish_seconds": 20.0}
        config = {"ckpt": str(path) if path.exists() else None, "resume": "auto"}
        loggers = build_loggers(settings, folder, config)
        for step in range(max(first - 1, 0), END):
            for row in rows_of(step, first):
                for logger in loggers:
                    logger.log_metrics(row, step)
                    logger.save()
            if step == last:
                if by_kill:
                    os.kill(os.getpid(), signal.SIGKILL)
                break
        close_loggers(loggers)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def checkpoint(folder: Path, step: int) -> None:
    trainer = {"optimizer_states": [], "global_step": step}
    path = folder / "checkpoints" / "last.ckpt"
    RunCheckpoint({}, LabelSpace(("cat",), (1,)), {}, trainer).write(path)


def logged(folder: Path) -> list[dict[str, Any]]:
    """The rows of all W&B files of a folder, which are of one run, by wandb's own messages."""
    files = sorted(folder.glob("wandb/*run-*/*.wandb"))
    assert len({file.name for file in files}) == 1 < len(files)
    every = [record for file in files for record in records(file)]
    return [_items(each.history.item) for each in every if each.HasField("history")]


def counts(rows: Iterable[Mapping[str, Any]], step: str) -> Counter[tuple[int, str]]:
    """How often each figure of a step is there."""
    names = ("train/loss", "val/AP")
    return Counter((int(row[step]), name) for row in rows for name in names if row.get(name))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("last", "saved_at", "by_kill", "left"),
    [(5, 4, False, 1.0), (5, 6, False, 0.7), (4, 4, True, 1.0)],
    ids=["behind the last save", "in a validation, rows on their way", "killed at once"],
)
def test_no_figure_comes_twice_and_none_is_lost(
    last: int, saved_at: int, by_kill: bool, left: float, tmp_path: Path
) -> None:
    code = forked_run.ended(train(tmp_path, 0, last, by_kill))
    assert code == (-signal.SIGKILL if by_kill else 0)
    (file,) = tmp_path.glob("wandb/*run-*/*.wandb")
    os.truncate(file, int(file.stat().st_size * left))
    checkpoint(tmp_path, saved_at)
    assert forked_run.ended(train(tmp_path, saved_at)) == 0
    rows = logged(tmp_path)
    assert counts(rows, STEP) == dict.fromkeys(FIGURES, 1)
    assert [row["_step"] for row in rows] == list(range(len(rows)))
    with (tmp_path / "metrics.csv").open() as table:
        assert counts(csv.DictReader(table), "step") == dict.fromkeys(FIGURES, 1)
    assert not (tmp_path / "metrics-1.csv").exists()


@pytest.mark.slow
def test_a_server_is_told_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        assert forked_run.ended(train(tmp_path, 0, mode="online")) == 0
        complete = list(server.history)
        del server.history[5:]  # the last rows never came
        checkpoint(tmp_path, 6)
        assert forked_run.ended(train(tmp_path, 6, mode="online")) == 0
    assert counts(complete, STEP) == counts(server.history, STEP) == dict.fromkeys(FIGURES, 1)
    assert [row["_step"] for row in server.history] == list(range(len(complete)))


def test_a_run_goes_on_in_its_own_folder_alone(tmp_path: Path) -> None:
    checkpoint(tmp_path, 7)
    config = {"ckpt": str(tmp_path), "resume": None}
    assert resumed_at(tmp_path, config) == 7
    assert resumed_at(tmp_path / "other", config) is None
    assert resumed_at(tmp_path, {"ckpt": None, "resume": "auto"}) == 0
    assert resumed_at(tmp_path, {"ckpt": None, "resume": None}) is None


def test_a_row_with_nothing_new_is_empty() -> None:
    once = Once([(3, "val/AP"), (3, "epoch")])
    assert once({"val/AP": 0.5, "epoch": 1}, 3) == {}
    assert once({"val/AP": 0.5, "epoch": 1, "val/loss": 2}, 3) == {"epoch": 1, "val/loss": 2}
    assert once({"val/AP": 0.5}, 4) == once({"val/AP": 0.5}, None) == {"val/AP": 0.5}


def test_a_file_that_cannot_be_read_counts_as_empty(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "wandb" / "run-20260101_000000-abc" / "run-abc.wandb"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"1234567" + struct.pack("<IHB", 0, 3, 1) + b"\xff\xff\xff")
    assert wandb_history.history(tmp_path, "abc") == []
    assert wandb_history.history(tmp_path, "abd") is None
    assert "rows may come twice" in caplog.text
    wandb_history.store_id(tmp_path, "abc")
    assert wandb_history.stored_id(tmp_path) == "abc"
