"""Whatever stops a run and whenever: it says so, and what goes on from its checkpoint is equal."""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import forked_run
import pytest
import torch
from tiny import TINY, column, command, environment, run

from detbox.engine import atomic
from detbox.runfile import RunCheckpoint
from detbox.stopping import REQUESTS, SIGNALS

STATEFUL = ("callbacks=ema", "+callbacks.early_stopping.name=early_stopping")
SAVED = ("callbacks.checkpoints.every_n_steps=2", "callbacks.ema.validate_raw=true")
RUN = (*TINY, *STATEFUL, *SAVED, "trainer.max_epochs=3", "data.workers=1")
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}
FIGURES = ("train/loss", "val/AP50", "val/loss", "val_raw/AP50")
PLACES = ("dirpath", "best_model_path", "kth_best_model_path", "best_k_models")
IGNORED = dict.fromkeys((*PLACES, "current_score"))
"""where a run lies, and what Lightning leaves out as it resumes, for nobody reads it"""
STATES = ("ModelCheckpoint", "EarlyStopping", "StopWithoutProgress", "ExponentialAverage")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    process = forked_run.start("train", *RUN, "hydra.run.dir=run", folder=folder)
    assert forked_run.ended(process) == 0, (folder / "train.log").read_text()
    return folder / "run"


def slow_disk() -> None:
    """Files grow slowly, so that many signals come while one is written."""
    save = torch.save

    def slowly(content: Any, path: Path) -> None:
        path.write_bytes(b"half of it")
        time.sleep(0.3)
        save(content, path)
        time.sleep(0.3)

    torch.save = slowly  # type: ignore[assignment]


def wait_for(file: Path) -> None:
    """Until another process has made it."""
    deadline = time.monotonic() + 120
    while not file.exists():
        assert time.monotonic() < deadline, f"nobody made {file}"
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "number"),
    [
        *((seed, signal.SIGKILL) for seed in range(5)),
        *((seed, signal.SIGTERM) for seed in (5, 6)),
        *((seed, signal.SIGINT) for seed in (7, 8)),
    ],
)
def test_a_run_goes_on_bit_for_bit(
    seed: int, number: signal.Signals, whole: Path, tmp_path: Path
) -> None:
    draws = random.Random(f"{seed} {number}")
    typed = ("train", *RUN, "hydra.run.dir=run", "resume=auto")
    prepare = slow_disk if seed % 2 else None
    process = forked_run.start(*typed, folder=tmp_path, prepare=prepare)
    metrics, last = tmp_path / "run" / "metrics.csv", tmp_path / "run" / "checkpoints" / "last.ckpt"
    wait_for(metrics)
    time.sleep(draws.uniform(0, 3))
    os.killpg(process, number)  # as a terminal and a scheduler do
    code = forked_run.ended(process)
    told = (tmp_path / "train.log").read_text()
    if code == 0:
        pytest.fail("the run ended before it was stopped")
    assert code == CODES[number], told
    if number != signal.SIGKILL:
        assert "stopped by" in told
        assert ("resume with ckpt=" in told) == last.exists()
    if last.exists():
        RunCheckpoint.read(last)
    go_on(tmp_path, whole)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "nth"), [("best.ckpt", 1), ("last.ckpt", 4)])
def test_a_kill_between_two_files_loses_neither(
    name: str, nth: int, whole: Path, tmp_path: Path
) -> None:
    def dies() -> None:
        write, paths = vars(atomic)["write_whole"], list[str]()

        def killed(content: Any, path: Path) -> None:
            write(content, path)
            paths.append(path.name)
            if path.name == name and paths.count(name) == nth:
                os.kill(os.getpid(), signal.SIGKILL)

        vars(atomic)["write_whole"] = killed

    typed = ("train", *RUN, "hydra.run.dir=run", "resume=auto")
    process = forked_run.start(*typed, folder=tmp_path, prepare=dies)
    assert forked_run.ended(process) == -signal.SIGKILL
    assert RunCheckpoint.read(tmp_path / "run", ("last.ckpt",)).step == 6
    go_on(tmp_path, whole)


def go_on(folder: Path, whole: Path) -> None:
    """Start a run again, and see that it ends as the one that nobody stopped."""
    again = forked_run.start("train", *RUN, "hydra.run.dir=run", "resume=auto", folder=folder)
    assert forked_run.ended(again) == 0, (folder / "train.log").read_text()
    metrics, told = folder / "run" / "metrics.csv", (folder / "train.log").read_text()
    for name in FIGURES:
        assert column(metrics, name) == column(whole / "metrics.csv", name), (name, told)
        assert len(column(metrics, name)) == figures(metrics, name), (name, told)
    assert_equal(*(each / "checkpoints" for each in (folder / "run", whole)))


def figures(metrics: Path, name: str) -> int:
    """How many rows have a figure."""
    with metrics.open(encoding="utf-8") as file:
        return sum(bool(row.get(name)) for row in csv.DictReader(file))


def assert_equal(ours: Path, theirs: Path) -> None:
    """Two runs left the same: both kinds of weights, best scores, counts of validations."""
    for name in ("last.ckpt", "best.ckpt", "best_weights.ckpt"):
        one, other = (torch.load(each / name, weights_only=True) for each in (ours, theirs))
        for part in {"state_dict", "current_model_state"} & set(other):
            for key, tensor in other[part].items():
                assert torch.equal(one[part][key], tensor), (name, part, key)
        states = [each.get("callbacks", {}) for each in (one, other)]
        known = [key for key in states[1] if key.startswith(STATES)]
        assert len(known) == (3 if states[1] else 0)
        for key in known:
            first, second = ({**each[key], **IGNORED} for each in states)
            assert first == second, (name, key)


@pytest.mark.slow
def test_two_processes_stop_at_one_step(tmp_path: Path) -> None:
    two = ("trainer.devices=2", "trainer.strategy=ddp", "hydra.run.dir=run", "resume=auto")
    arguments = command("train", *RUN, *two)
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            arguments, cwd=tmp_path, env=environment(), stdout=log, stderr=log
        )
        while not (tmp_path / "run" / "metrics.csv").exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)  # of the first alone
        assert process.wait(60) == 143, (tmp_path / "log").read_text()
    assert (tmp_path / "log").read_text().count("stopped by SIGTERM") == 1
    checkpoint = RunCheckpoint.read(tmp_path / "run", ("last.ckpt",))
    assert 0 < checkpoint.step < 9
    again = run("train", *RUN, *two, folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert list(column(tmp_path / "run" / "metrics.csv", "train/loss")) == list(range(9))


@pytest.mark.parametrize("number", SIGNALS, ids=lambda each: each.name)
def test_a_second_signal_ends_the_process(number: signal.Signals, tmp_path: Path) -> None:
    process = os.fork()
    if not process:
        signal.signal(number, signal.SIG_DFL)  # `nohup` ignores one
        REQUESTS.install()
        REQUESTS.wait(True)
        (tmp_path / "ready").touch()
        while REQUESTS.noted is None:
            time.sleep(0.01)
        (tmp_path / "noted").touch()
        while True:
            time.sleep(1)
    wait_for(tmp_path / "ready")
    os.kill(process, number)
    wait_for(tmp_path / "noted")
    assert os.waitpid(process, os.WNOHANG) == (0, 0)
    os.kill(process, number)
    assert forked_run.ended(process, 5) == 128 + number
