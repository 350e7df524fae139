"""The moving average: its formula, its turn, what is validated, and a stop within a validation."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import forked_run
import lightning.pytorch as pl
import pytest
import torch
from tiny import TINY
from torch import Tensor
from training_toys import ToyModule, loader, trainer

from detbox.engine.ema import ExponentialAverage
from detbox.evaluation.callback import CocoEvaluation

RUN = (*TINY, "callbacks=ema", "trainer.max_epochs=2", "hydra.run.dir=run", "resume=auto")


class Watch(pl.Callback):
    """Keeps the trained weight after every optimizer step, and the one that is validated."""

    def __init__(self) -> None:
        self.steps: dict[int, Tensor] = {}
        self.validated: list[Tensor] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        self.steps[trainer.global_step] = module.detector.weight.detach().clone()

    def on_validation_batch_start(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        self.validated.append(module.detector.weight.detach().clone())


def fit(folder: Path, average: ExponentialAverage, **settings: Any) -> tuple[ToyModule, Watch]:
    watch, module = Watch(), ToyModule()
    trainer(folder, callbacks=[average, watch], **settings).fit(module, loader(6), loader(1))
    return module, watch


def averaged(steps: dict[int, Tensor], decay: float) -> Tensor:
    """By the definition, from the weights after each step."""
    first, *rest = steps.values()
    mean = first
    for updates, weight in enumerate(rest, 1):
        share = min(decay, (1 + updates) / (10 + updates))
        mean = share * mean + (1 - share) * weight
    return mean


@pytest.mark.parametrize("decay", [0.0, 0.25, 0.9])
def test_the_average_is_validated_and_left_as_the_model(decay: float, tmp_path: Path) -> None:
    module, watch = fit(tmp_path, ExponentialAverage(decay))
    expected = averaged(watch.steps, decay)
    torch.testing.assert_close(watch.validated, [expected])
    torch.testing.assert_close(module.detector.weight.detach(), expected)


def test_accumulated_batches_are_one_update(tmp_path: Path) -> None:
    average = ExponentialAverage(0.9)
    _, watch = fit(tmp_path, average, accumulate_grad_batches=2)
    assert average.updates == 3
    del watch.steps[0]  # before the first one, the weights are those of the start
    torch.testing.assert_close(watch.validated, [averaged(watch.steps, 0.9)])


def test_trained_weights_can_be_validated(tmp_path: Path) -> None:
    module, watch = fit(tmp_path, ExponentialAverage(0.9, validates=False))
    torch.testing.assert_close(watch.validated, [watch.steps[6]])
    torch.testing.assert_close(module.detector.weight.detach(), averaged(watch.steps, 0.9))


def stop_in_validation() -> None:
    """Ask a run to stop at its first validation."""
    end = CocoEvaluation.on_validation_batch_end

    def ended(self: CocoEvaluation, *args: Any, **kwargs: Any) -> None:
        end(self, *args, **kwargs)
        os.kill(os.getpid(), signal.SIGTERM)

    CocoEvaluation.on_validation_batch_end = ended  # type: ignore[method-assign]


@pytest.mark.slow
def test_a_run_that_stopped_while_the_average_was_judged_goes_on_exactly(tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for folder, prepare, codes in ((whole, None, [0]), (stopped, stop_in_validation, [143, 0])):
        folder.mkdir()
        for code in codes:
            first = prepare if code else None
            process = forked_run.start("train", *RUN, folder=folder, prepare=first)
            assert forked_run.ended(process) == code, (folder / "train.log").read_text()
    files = [
        torch.load(folder / "run/checkpoints/last.ckpt", weights_only=True)
        for folder in (whole, stopped)
    ]
    for part in ("state_dict", "current_model_state"):
        for name, tensor in files[0][part].items():
            assert torch.equal(tensor, files[1][part][name]), (part, name)
    differ = [
        name
        for name, tensor in files[0]["state_dict"].items()
        if not torch.equal(tensor, files[0]["current_model_state"][name])
    ]
    assert len(differ) > 50
