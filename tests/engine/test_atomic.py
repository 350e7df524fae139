"""Checkpoint files are replaced whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from training_toys import ToyEvaluation, ToyModule, context, loader

from detbox.console.lines import quiet
from detbox.engine.atomic import AtomicCheckpointIO
from detbox.engine.builders import checkpoints
from detbox.engine.trainer import lightning
from detbox.errors import MachineError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_and_alone(tmp_path: Path) -> None:
    for step in (1, 2):
        AtomicCheckpointIO().save_checkpoint({"step": step}, tmp_path / "new" / "last.ckpt")
        assert torch.load(tmp_path / "new" / "last.ckpt", weights_only=True) == {"step": step}
        assert names(tmp_path / "new") == ["last.ckpt"]


def test_a_save_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, target)

    def fill_the_disk(content: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", fill_the_disk)
    with pytest.raises(MachineError, match=r"last.ckpt cannot be written \(no space left\)"):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, target)
    assert torch.load(target, weights_only=True) == {"step": 1}
    assert names(tmp_path) == ["last.ckpt"]


def test_the_old_file_stays_until_the_new_one_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, target)
    write, seen = torch.save, []

    def watch(content: Any, path: Path) -> None:
        write(content, path)
        seen.append((path.parent, torch.load(target, weights_only=True)))

    monkeypatch.setattr(torch, "save", watch)
    AtomicCheckpointIO().save_checkpoint({"step": 2}, target)
    assert seen == [(tmp_path, {"step": 1})]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_trainer_saves_this_way(
    tmp_path: Path, precision: Literal["32-true", "bf16-mixed"]
) -> None:
    quiet()
    settings: dict[str, Any] = {"max_epochs": 1, "accelerator": "cpu", "precision": precision}
    loggers = [CSVLogger(tmp_path, name="", version="")]
    run = context(tmp_path, loggers)
    run.figures.promised = True
    callbacks = [ToyEvaluation(run.figures), *checkpoints(run)]
    trainer = lightning(tmp_path, loggers, callbacks, devices=1, **settings)
    assert isinstance(trainer.strategy.checkpoint_io, AtomicCheckpointIO)
    trainer.fit(ToyModule(), loader(2), loader(1))
    assert names(tmp_path / "checkpoints") == ["best.ckpt", "last.ckpt"]


def test_distributed_trainers_save_this_way_too(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"accelerator": "cpu", "devices": 2, "strategy": "ddp"}
    trainer = lightning(tmp_path, [], [], precision="bf16-mixed", **settings)
    assert isinstance(trainer.strategy.checkpoint_io, AtomicCheckpointIO)
