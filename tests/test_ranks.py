"""Several processes: with too few pictures, without objects, and when one of them fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny import MODEL, TINY, run
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

import detbox
import detbox.build  # registers the models
from detbox.registry import MODELS
from detbox.structures import ImageBatch, Targets

TWO = (*TINY, "trainer.devices=2", "trainer.strategy=ddp", "trainer.max_epochs=1")
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
    for name in MODELS.names():
        cfg = detbox.compose(f"model={name}", *_small(name))
        detector = DistributedDataParallel(detbox.build_detector(cfg, 4))
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
