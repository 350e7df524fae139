"""A job of submitit that is preempted saves after its step, and goes on there in its next turn."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import forked_run
import pytest
from omegaconf import OmegaConf
from test_stopping import wait_for
from tiny import TINY, TOOLS, column, environment

from detbox.commands.resuming import going_on_in
from detbox.requeueing import requeued
from detbox.stopping import REQUESTS, Stopped

EPOCHS = (*TINY, "trainer.max_epochs=2", "trainer.limit_val_batches=1")
SCRIPT = TOOLS / "slurm.sbatch"
SLURM = {
    **{f"SLURM_{each}": "1" for each in ("NTASKS", "NTASKS_PER_NODE", "NNODES", "JOB_ID")},
    **{f"SLURM_{each}": "0" for each in ("PROCID", "LOCALID", "NODEID")},
}


def process_in(folder: Path) -> int:
    """The one that trains there, once it has taken a step."""
    wait_for(folder / "metrics.csv")
    (process,) = re.findall(r"process (\d+)", (folder / ".lock").read_text())
    return int(process)


def assert_whole(folder: Path) -> None:
    """Every step and every validation is there once."""
    assert list(column(folder / "metrics.csv", "train/loss")) == list(range(12))
    assert list(column(folder / "metrics.csv", "val/AP")) == [5, 11]


@pytest.mark.slow
def test_a_preempted_job_goes_on_in_its_next_turn(tmp_path: Path) -> None:
    options = ("launcher=local", "seed=3", "hydra.sweep.dir=sweep")
    sweep = forked_run.start("train", *EPOCHS, *options, folder=tmp_path)
    job = process_in(tmp_path / "sweep" / "0")
    os.kill(job, signal.SIGTERM)  # Slurm sends it, too, and must not end the job
    os.kill(job, signal.SIGUSR2)
    assert forked_run.ended(sweep, 240) == 0, (tmp_path / "train.log").read_text()
    (errors,) = (tmp_path / "sweep" / ".submitit").glob("*/*.err")
    assert "stopped by SIGUSR2: in epoch" in errors.read_text()
    (said,) = (tmp_path / "sweep" / ".submitit").glob("*/*.out")
    assert "resumed at" in said.read_text()
    assert_whole(tmp_path / "sweep" / "0")
    assert len((tmp_path / "sweep" / "sweep.csv").read_text().splitlines()) == 2


@pytest.mark.slow
def test_the_script_queues_a_run_again_whose_time_is_over(tmp_path: Path) -> None:
    for name, does in (("srun", 'exec "$@"'), ("scontrol", 'echo "$@" >> queue')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    started = {**environment(), **SLURM, "PATH": path, "PYTHON": sys.executable}
    command = ["bash", str(SCRIPT), "a run", *EPOCHS]
    with subprocess.Popen(command, cwd=tmp_path, env=started) as first:
        os.kill(process_in(tmp_path / "a run"), signal.SIGUSR1)
    assert first.returncode == 128 + signal.SIGUSR1
    assert (tmp_path / "queue").read_text() == "requeue 1\n"
    subprocess.run(command, cwd=tmp_path, env=started, check=True, timeout=240)
    assert (tmp_path / "queue").read_text() == "requeue 1\n"
    assert_whole(tmp_path / "a run")


def test_submitit_has_its_turn_after_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    queued: list[int] = []
    before = {each: signal.getsignal(each) for each in (signal.SIGUSR2, signal.SIGTERM)}
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    for each in ("_stop", "_save"):
        monkeypatch.setattr(REQUESTS, each, getattr(REQUESTS, each))

    @requeued()
    def job() -> None:
        REQUESTS.wait(True)
        os.kill(os.getpid(), signal.SIGTERM)
        assert (REQUESTS.saving, REQUESTS.noted) == (True, None)
        for _ in range(2):  # a second one is no order to drop the step
            os.kill(os.getpid(), signal.SIGUSR2)
        assert not queued
        raise Stopped(REQUESTS.noted or 0)

    try:
        signal.signal(signal.SIGUSR2, lambda number, _: queued.append(number))
        with pytest.raises(SystemExit):
            job()
        assert queued == [signal.SIGUSR2]
    finally:
        REQUESTS.saving = False
        REQUESTS.wait(False)
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("resume", ["auto", None])
def test_a_job_of_a_sweep_goes_on_in_its_own_folder(resume: str | None, tmp_path: Path) -> None:
    cfg = OmegaConf.create({"resume": resume, "ckpt": None, "init": "first.pth"})
    folder = tmp_path / "sweep ${x}" / "0"
    assert going_on_in(folder, cfg) is cfg
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    found = going_on_in(folder, cfg)
    last = str(folder / "checkpoints" / "last.ckpt")
    assert (found.ckpt, found.init) == ((last, None) if resume else (None, "first.pth"))
