"""A run that dies loses nothing but time; two processes train as one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tiny import TINY, column, command, environment, run

LONG = (*TINY, "trainer.max_epochs=3", "callbacks.checkpoints.every_n_steps=4")


def killed_after_checkpoint(folder: Path) -> Path:
    """Start a run, `kill -9` it as soon as its first checkpoint is there, and return that."""
    checkpoint = folder / "first" / "checkpoints" / "last.ckpt"
    process = subprocess.Popen(
        command("train", *LONG, "hydra.run.dir=first"),
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 200
    while not checkpoint.is_file() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return checkpoint


@pytest.mark.slow
def test_a_killed_run_goes_on_with_equal_losses(tmp_path: Path) -> None:
    checkpoint = killed_after_checkpoint(tmp_path)
    assert checkpoint.is_file()
    resumed = run("train", *LONG, f"ckpt={checkpoint}", "hydra.run.dir=second", folder=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    whole = run("train", *LONG, "hydra.run.dir=whole", folder=tmp_path)
    assert whole.returncode == 0, whole.stderr

    expected = column(tmp_path / "whole" / "metrics.csv", "train/loss")
    got = column(tmp_path / "second" / "metrics.csv", "train/loss")
    assert len(expected) == 18
    assert got
    # Kernels may round differently where memory is laid out differently, so not to the last bit.
    assert got == pytest.approx({step: expected[step] for step in got}, rel=1e-3)
    assert max(got) == max(expected)


@pytest.mark.slow
def test_resuming_with_another_detector_is_refused(tmp_path: Path) -> None:
    first = run("train", *TINY, "trainer.max_steps=1", "hydra.run.dir=first", folder=tmp_path)
    assert first.returncode == 0, first.stderr
    options = ("ckpt=first/checkpoints/last.ckpt", "model.feedforward_dim=64")
    done = run("train", *TINY, *options, folder=tmp_path)
    assert done.returncode == 1
    assert "model.feedforward_dim 32 -> 64: the weights are those of the former" in done.stderr


@pytest.mark.slow
def test_two_processes_train_and_count_every_image_once(tmp_path: Path) -> None:
    two = ("trainer.devices=2", "trainer.strategy=ddp", "trainer.max_epochs=1")
    done = run("train", *TINY, *two, "hydra.run.dir=run", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    entries = json.loads((tmp_path / "run" / "detections.json").read_text())
    images = [entry["image_id"] for entry in entries]
    assert {image: images.count(image) for image in set(images)} == dict.fromkeys(range(1, 6), 48)
