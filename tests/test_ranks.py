"""Several processes: with too few pictures, without objects, and when one of them fails."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from forked_run import ended
from tiny import MODEL, SHAPES, TINY, TOOLS, environment, run
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

import detbox
import detbox.build  # registers the models
from detbox.engine.unused import freeze_unused
from detbox.errors import SettingError
from detbox.registry import MODELS, TRAINERS
from detbox.run_folder import new_folder
from detbox.runfile import RunCheckpoint
from detbox.stopping import Requests
from detbox.structures import ImageBatch, Targets

TWO = (*TINY, "trainer.devices=2", "trainer.strategy=ddp", "trainer.max_epochs=1")
HRNET = ("backbone=timm", "backbone.model=hrnet_w18_small")
LAUNCHERS = {
    "torchrun": lambda rank: {
        **{"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"},
        **{"RANK": rank, "LOCAL_RANK": rank},
    },
    "srun": lambda rank: {
        **{"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"},
        **{"SLURM_PROCID": rank, "SLURM_LOCALID": rank, "SLURM_NODEID": "0"},
    },
}
"""what a launcher tells a process of two"""
FAILING = """
import lightning.pytorch as pl
from detbox.callbacks import Stage, register_callback

class Fails(pl.Callback):
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_rank == 1 and batch_idx == 1:
            raise KeyError("a bug of the second process")

@register_callback("fails", Stage.DISPLAY)
def fails(context):
    return [Fails()]
"""


@pytest.mark.slow
def test_a_process_may_have_no_picture_to_validate(tmp_path: Path) -> None:
    few = ("data.val_images=1", "data.train_images=1", "data.batch_size=1", "hydra.run.dir=run")
    done = run("train", *TWO, *few, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    entries = json.loads((tmp_path / "run" / "detections.json").read_text())
    assert {entry["image_id"] for entry in entries} == {1}


@pytest.mark.slow
def test_the_error_of_the_process_that_failed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "failing_part.py").write_text(FAILING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("DETBOX_PLUGINS", "failing_part")
    done = run(
        "train", *TWO, "+callbacks.fails={name: fails}", "hydra.run.dir=run", folder=tmp_path
    )
    assert done.returncode == 1
    kept = tmp_path / "run" / "error_of_process_1.txt"
    assert done.stderr.splitlines()[-1] == (
        "error: process 1 failed: KeyError: 'a bug of the second process'; "
        f"its traceback is in {kept}"
    )
    assert "failing_part.py" in kept.read_text()


@pytest.mark.slow
def test_every_model_learns_where_one_process_has_no_object(tmp_path: Path) -> None:
    multiprocessing.spawn(_two_steps_of_every_model, (tmp_path / "store",), nprocs=2)


def _two_steps_of_every_model(rank: int, store: Path) -> None:
    """The second step fails in a model that left a parameter out of the first."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
    count = 0 if rank else 2
    targets = Targets(torch.zeros(count).long(), torch.full((count, 4), 0.4), (count, 0))
    pixels = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    images = ImageBatch(pixels, torch.zeros(2, 64, 64, dtype=torch.bool))
    assert len(MODELS.names()) > 8
    cases = [(name, _small(name)) for name in MODELS.names()]
    for name, settings in [*cases, ("dino", (*_small("dino"), *HRNET))]:
        cfg = detbox.compose(f"model={name}", *settings)
        single = detbox.build_detector(cfg, 4)
        assert bool(freeze_unused(single)) == ("backbone=timm" in settings)
        detector = DistributedDataParallel(single)
        criterion = detbox.build_criterion(cfg)
        for _ in range(2):
            criterion(detector(images, targets), targets).total.backward()
        assert all(each.grad is not None for each in detector.parameters() if each.requires_grad)
    distributed.destroy_process_group()


def _small(model: str) -> list[str]:
    """The tiny settings that a model has."""
    known = {f"model.{each}" for each in MODELS.settings(model)}
    own = [each for each in MODEL if each.partition("=")[0] in known]
    rest = [each for each in MODEL if not each.startswith(("model.", "neck.num_levels"))]
    return [*rest, *own]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_processes_that_a_launcher_started_use_one_folder(launcher: str, tmp_path: Path) -> None:
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    children = []
    for rank in ("1", "0"):
        children.append(os.fork())
        if children[-1]:
            time.sleep(0.2)
            continue
        try:
            os.chdir(tmp_path)
            os.environ.update(place | LAUNCHERS[launcher](rank))
            Path(f"told_{rank}").write_text(*new_folder([], {}))
            while len(list(tmp_path.glob("told_*"))) < 2:
                time.sleep(0.01)
            os._exit(0)
        finally:
            os._exit(1)
    assert [ended(child, 30) for child in children] == [0, 0]
    first, second = ((tmp_path / f"told_{rank}").read_text() for rank in "01")
    assert first == second
    assert (tmp_path / first.partition("=")[2]).is_dir()
    assert len(list(tmp_path.glob("runs/*/*"))) == 1


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_devices_are_those_of_torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in LAUNCHERS["torchrun"]("0").items():
        monkeypatch.setenv(key, value)
    cfg = detbox.compose("trainer.accelerator=cpu")
    trainer = TRAINERS.build(cfg.trainer, tmp_path, [], [])
    assert (trainer.world_size, trainer.num_nodes) == (2, 1)
    cfg.trainer.devices = 3
    with pytest.raises(SettingError, match=r"2 processes on each of 1 node, .*; leave both out"):
        TRAINERS.build(cfg.trainer, tmp_path, [], [])


def test_a_signal_that_torchrun_sends_on_does_not_count_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    for launched, ends in ((True, 0), (False, 1)):
        if launched:
            monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
        else:
            monkeypatch.delenv("TORCHELASTIC_RUN_ID")
        requests = Requests()
        requests.wait(True)
        for _ in range(2):
            requests(signal.SIGTERM, None)
        assert len(left) == ends


@pytest.mark.slow
def test_two_groups_of_torchrun_are_one_run_and_stop_together(tmp_path: Path) -> None:
    meeting = ("--nnodes=2", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{free_port()}")
    groups = [torchrun(tmp_path, f"log_{number}", *meeting) for number in range(2)]
    while not (made := list(tmp_path.glob("runs/*/*/metrics.csv"))) and groups[0].poll() is None:
        time.sleep(0.05)
    for group in groups:  # as a scheduler does
        group.send_signal(signal.SIGTERM)
    assert 0 not in [each.wait(60) for each in groups]
    told = "".join((tmp_path / f"log_{number}").read_text() for number in range(2))
    assert [each.parent for each in made] == list(tmp_path.glob("runs/*/*")), told
    assert told.count("stopped by SIGTERM") == 1, told
    checkpoint = RunCheckpoint.read(made[0].parent, ("last.ckpt",))
    assert f"after step {checkpoint.step}; resume with" in told
    assert 0 < checkpoint.step < 300


def torchrun(folder: Path, log: str, *options: str) -> subprocess.Popen[bytes]:
    """An agent with one process of a training, which nobody else tells how many they are."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=1", *options]
    settings = ("trainer.accelerator=cpu", "trainer.log_every_n_steps=1", "trainer.max_epochs=100")
    with (folder / log).open("w") as output:
        return subprocess.Popen(
            [*launcher, str(TOOLS / "train.py"), *MODEL, *SHAPES, *settings],
            cwd=folder,
            env=environment(),
            stdout=output,
            stderr=output,
        )
