"""The first step that is not finite: judged before it is taken, kept, and computed again."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from omegaconf import OmegaConf
from tiny import MODEL, TINY, run
from torch import Tensor
from torch.utils.data import DataLoader
from training_toys import SPACE, loader, trainer

from detbox.build import build_module, compose
from detbox.commands.arguments import readable
from detbox.commands.replay import replay
from detbox.engine.module import DetectionModule
from detbox.engine.seeding import SeedEveryStep
from detbox.errors import CheckpointError, DivergedError, MissingFileError
from detbox.guards.black_box import BlackBox
from detbox.guards.bundle import Bundle

LINEAR = "detector.decoder.layers.1.feed_forward.linear1"
PLANTED = """
import torch
import lightning.pytorch as pl
from detbox.callbacks import Stage, register_callback

class Fault(pl.Callback):
    def on_fit_start(self, trainer, module):
        def spoil(part, inputs, output):
            if trainer.global_rank == 1 and trainer.global_step == 1:
                return output * torch.nan
        module.detector.decoder.layers[0].register_forward_hook(spoil)

@register_callback("fault", Stage.SEED)
def fault(context):
    return [Fault()]
"""


class Data(pl.LightningDataModule):
    """Six batches to train on, one to validate."""

    train_batches = 6

    def train_dataloader(self) -> DataLoader:
        return loader(self.train_batches)

    def val_dataloader(self) -> DataLoader:
        return loader(1)


class Plant(pl.Callback):
    """Spoils a weight before the steps of some numbers, and may mend it after."""

    def __init__(self, *steps: int, mends: bool = False) -> None:
        self.steps, self.mends = steps, mends
        self.seen: list[Tensor] = []

    def on_train_batch_start(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        self.weight = module.get_submodule(LINEAR).weight
        self.seen.append(self.weight.detach().clone())
        if trainer.global_step + 1 in self.steps:
            self.weight.data = huge(self.weight.detach())

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        if self.mends and trainer.global_step in self.steps:
            self.weight.data = self.seen[-1].clone()


def huge(weight: Tensor) -> Tensor:
    return weight * 1e38


def fitted(
    folder: Path, *callbacks: pl.Callback, fused: bool = False, **settings: Any
) -> DetectionModule:
    """A tiny DINO trained with a black box; its weights after the run."""
    torch.manual_seed(0)
    module = build_module(compose(*MODEL, "optimizer.lr=1e-3"), SPACE)
    runner = trainer(folder, callbacks=[SeedEveryStep(0), *callbacks], **settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("detbox.engine.optimization._is_on_gpu", lambda _: fused)
        runner.fit(module, datamodule=Data())
    return module


def stopped(folder: Path, *callbacks: pl.Callback, **settings: Any) -> str:
    with pytest.raises(DivergedError) as error:
        fitted(folder, *callbacks, BlackBox(folder), **settings)
    return str(error.value)


@pytest.mark.parametrize("fused", [False, True])
def test_a_run_stops_before_the_bad_step_and_says_where_it_began(
    tmp_path: Path, fused: bool
) -> None:
    told = stopped(tmp_path, Plant(3), fused=fused)
    assert f"step 3: the loss is not finite, first in {LINEAR}: output" in told
    assert str(tmp_path / "black_box.pt") in told
    assert "no checkpoint was due yet" in told


def test_the_bundle_gives_the_same_again(tmp_path: Path) -> None:
    plant = Plant(4)
    stopped(tmp_path, plant, accumulate_grad_batches=1)
    bundle = Bundle.read(tmp_path)
    assert (bundle.step, bundle.epoch, bundle.precision, bundle.what) == (4, 1, "32-true", "loss")
    weights = bundle.checkpoint.detector[f"{LINEAR.removeprefix('detector.')}.weight"]
    assert torch.equal(weights, huge(plant.seen[3]))
    (found,) = replay(
        OmegaConf.create({"op": "auto"}), tmp_path, bundle=str(tmp_path), device="cpu"
    )
    assert found.last.first == bundle.first


def test_the_draws_of_the_step_are_met_again(tmp_path: Path) -> None:
    losses: list[float] = []

    class Loss(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
            losses.append(float(outputs["loss"]))

    class Gradient(pl.Callback):
        def on_after_backward(self, trainer: pl.Trainer, module: Any) -> None:
            if trainer.global_step == 2:
                module.get_submodule(LINEAR).weight.grad[0, 0] = torch.inf

    told = stopped(tmp_path, Gradient(), precision="bf16-mixed")
    assert "step 3: the gradient is not finite, though that of each module is, and" in told
    fitted(tmp_path, Loss(), precision="bf16-mixed")
    cfg = OmegaConf.create({"op": "auto"})
    half, exact = replay(cfg, tmp_path, bundle=str(tmp_path), device="cpu")
    assert half.last.loss == pytest.approx(losses[2], rel=1e-6)
    assert half.last.loss != exact.last.loss


@pytest.mark.parametrize("fused", [False, True])
def test_steps_are_left_out_and_counted(
    tmp_path: Path, fused: bool, caplog: pytest.LogCaptureFixture
) -> None:
    plant, box = Plant(2, 4, mends=True), BlackBox(tmp_path, skip=2)
    with caplog.at_level(logging.WARNING, "detbox"):
        module = fitted(
            tmp_path, plant, box, fused=fused, precision="bf16-mixed", gradient_clip_val=0.1
        )
    assert torch.equal(plant.seen[1], plant.seen[2])
    assert torch.equal(plant.seen[3], plant.seen[4])
    assert not torch.equal(plant.seen[2], plant.seen[3])
    assert all(each.isfinite().all() for each in module.parameters())
    assert [each.split(";")[-1] for each in caplog.messages] == [
        f" the step is left out, {n} of callbacks.black_box.skip=2" for n in (1, 2)
    ]
    assert Bundle.read(tmp_path).step == 2  # the first alone is kept
    again = BlackBox(tmp_path, skip=2)
    again.load_state_dict(box.state_dict())
    with pytest.raises(DivergedError, match=r"step 1: the loss is not finite; .*skip=5"):
        fitted(tmp_path, Plant(1), again)


def test_a_bad_batch_spoils_the_step_that_it_is_accumulated_into(tmp_path: Path) -> None:
    class Once(pl.Callback):
        def on_train_batch_start(
            self, trainer: Any, module: Any, batch: Any, batch_idx: int
        ) -> None:
            if batch_idx == 2:
                batch.targets.boxes.fill_(torch.nan)

    told = stopped(tmp_path, Once(), accumulate_grad_batches=2)
    assert "step 2: the loss is not finite, first in batch: targets.boxes" in told
    (kept,) = Bundle.read(tmp_path).batches
    assert list(kept.batch.image_ids) == [4, 5]


def test_a_healthy_run_is_left_as_it_is(tmp_path: Path) -> None:
    with_box, without = fitted(tmp_path, BlackBox(tmp_path)), fitted(tmp_path)
    states = (each.state_dict() for each in (with_box, without))
    torch.testing.assert_close(*states, rtol=0, atol=0)
    assert not list(tmp_path.glob("*.pt"))


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"there is no .*black_box\.pt"):
        Bundle.read(tmp_path)
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="is no black box of a run"):
        Bundle.read(tmp_path / "other.pt")


def test_a_bundle_is_typed_without_a_key(tmp_path: Path) -> None:
    assert readable("replay", ["a/b.pt", "device=cpu"]) == ["bundle=a/b.pt", "device=cpu"]
    assert readable("replay", ["bundle=b.pt", "--cfg"]) == ["bundle=b.pt", "--cfg"]


@pytest.mark.slow
def test_two_processes_leave_out_the_same_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "planted_part.py").write_text(PLANTED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("DETBOX_PLUGINS", "planted_part")
    two = ("trainer.devices=2", "trainer.strategy=ddp", "trainer.max_epochs=1")
    settings = ("+callbacks.fault={name: fault}", "callbacks.black_box.skip=1", "hydra.run.dir=run")
    done = run("train", *TINY, *two, *settings, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the step is left out, 1 of") == 1
    bundle = Bundle.read(tmp_path / "run")
    assert (bundle.step, bundle.rank) == (2, 1)
    assert bundle.first is not None
    assert bundle.first.module == "detector.decoder.layers.0"
