"""A real detector in a trainer: half precision, checkpoints, repeatable steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from tiny import MODEL
from torch import Tensor
from torch.utils.data import DataLoader
from training_toys import SPACE, loader, trainer

from detbox.build import build_module, compose, plain
from detbox.engine.module import DetectionModule
from detbox.engine.seeding import SeedEveryStep
from detbox.runfile import RunCheckpoint
from detbox.structures import LabelSpace

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers:UserWarning",
    "ignore:.*LeafSpec:FutureWarning",
)


class ToyData(pl.LightningDataModule):
    """Two batches for training, one for validation."""

    train_batches = 2

    def train_dataloader(self) -> DataLoader:
        return loader(self.train_batches)

    def val_dataloader(self) -> DataLoader:
        return loader(1)


class Steps(pl.Callback):
    """Keeps what every training step returned and every validation step found."""

    def __init__(self) -> None:
        self.trained: list[dict[str, Any]] = []
        self.found: list[Any] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, *_: Any) -> None:
        self.trained.append(outputs)

    def on_validation_batch_end(
        self, trainer: pl.Trainer, module: Any, outputs: Any, *_: Any
    ) -> None:
        self.found.extend(outputs)


def module(seed: int = 0) -> DetectionModule:
    torch.manual_seed(seed)
    return build_module(compose(*MODEL, "optimizer.lr=1e-3"), SPACE)


def fit(model: DetectionModule, folder: Path, **settings: Any) -> Steps:
    """Train with denoising draws that depend on the step alone."""
    steps = Steps()
    runner = trainer(folder, callbacks=[SeedEveryStep(0), steps], **settings)
    runner.fit(model, datamodule=ToyData())
    return steps


def copied(model: DetectionModule) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_half_precision_on_the_cpu_trains_every_parameter(tmp_path: Path) -> None:
    model = module()
    before = copied(model)
    steps = fit(model, tmp_path, precision="bf16-mixed", max_epochs=2)
    for step in steps.trained:
        assert all(
            term.value.isfinite() and term.value.dtype == torch.float32 for term in step["terms"]
        )
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32
        assert parameter.isfinite().all(), name
        assert not torch.equal(parameter, before[name]), name
    assert all(each.scores.dtype == torch.float32 for each in steps.found)


def test_the_loss_is_the_sum_of_its_terms(tmp_path: Path) -> None:
    for step in fit(module(), tmp_path).trained:
        total = torch.stack([term.value for term in step["terms"]]).sum()
        torch.testing.assert_close(step["loss"], total)
        assert not any(term.value.requires_grad for term in step["terms"])


def test_steps_are_repeatable(tmp_path: Path) -> None:
    first, second = module(), module()
    before = fit(first, tmp_path)
    torch.manual_seed(99)
    after = fit(second, tmp_path)
    torch.testing.assert_close(
        [step["loss"] for step in before.trained], [step["loss"] for step in after.trained]
    )
    torch.testing.assert_close(copied(first), copied(second))


def test_validation_within_a_fit_logs_the_loss(tmp_path: Path) -> None:
    model = module()
    steps = fit(model, tmp_path)
    assert model.trainer.callback_metrics["val/loss"].isfinite()
    assert len(steps.found) == 2


def test_a_checkpoint_is_plain_and_holds_configuration_and_classes(tmp_path: Path) -> None:
    model = module()
    fit(model, tmp_path)
    model.trainer.save_checkpoint(tmp_path / "last.ckpt")
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert all(name.startswith("detector.") for name in content["state_dict"])
    assert content["detbox"]["config"] == plain(compose(*MODEL, "optimizer.lr=1e-3"))
    assert LabelSpace.from_dict(content["detbox"]["label_space"]) == SPACE


def test_a_checkpoint_fills_another_module_exactly(tmp_path: Path) -> None:
    model, other = module(), module(seed=1)
    fit(model, tmp_path)
    model.trainer.save_checkpoint(tmp_path / "last.ckpt")
    RunCheckpoint.read(tmp_path / "last.ckpt").fill(other.detector)
    torch.testing.assert_close(copied(other), copied(model), rtol=0, atol=0)
