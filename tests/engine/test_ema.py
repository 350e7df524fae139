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
from lightning.pytorch.trainer.states import TrainerFn
from tiny import TINY, column
from torch import Tensor
from training_toys import ToyModule, loader, trainer

from detbox.engine.ema import ExponentialAverage
from detbox.evaluation.callback import CocoEvaluation
from detbox.runfile import BEST, PREFIX, SLIM, RunCheckpoint

SETTINGS = ("callbacks=ema", "callbacks.ema.validate_raw=true", "trainer.max_epochs=2")
RUN = (*TINY, *SETTINGS, "hydra.run.dir=run", "resume=auto")


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


def test_the_trained_weights_are_at_hand_while_the_average_is_validated(tmp_path: Path) -> None:
    average, beside = ExponentialAverage(0.9), []

    class Beside(pl.Callback):
        def on_validation_batch_start(self, *_: Any) -> None:
            copy: Any = average.trained()
            beside.append((copy.training, copy.detector.weight.detach().clone()))

    module, watch = ToyModule(), Watch()
    trainer(tmp_path, callbacks=[average, watch, Beside()]).fit(module, loader(6), loader(1))
    ((training, weight),) = beside
    torch.testing.assert_close(weight, watch.steps[6])
    assert (training, average.trained()) == (False, None)


def test_nothing_is_swapped_before_the_first_update(tmp_path: Path) -> None:
    average, module, run = ExponentialAverage(0.9), ToyModule(), trainer(tmp_path)
    average.setup(run, module, "fit")
    run.state.fn = TrainerFn.FITTING
    module.detector.weight.data.fill_(5.0)  # as buffers change before the first optimizer step
    average.on_validation_epoch_start(run, module)
    assert module.detector.weight.tolist() == [5.0, 5.0]
    assert average.trained() is None
    average.on_fit_end(run, module)
    assert module.detector.weight.tolist() == [5.0, 5.0]


def test_an_update_is_one_call_for_all_tensors_of_a_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    move = torch._foreach_lerp_

    def counted(averages: list[Tensor], *rest: Any) -> None:
        calls.append(len(averages))
        move(averages, *rest)

    monkeypatch.setattr(torch, "_foreach_lerp_", counted)
    average, module = ExponentialAverage(0.9), Buffered()
    average.setup(pl.Trainer(logger=False, accelerator="cpu"), module, "fit")
    copy: Any = average._average_model
    for _ in range(3):
        module.norm.num_batches_tracked.add_(1)
        copy.update_parameters(module)
    assert calls == [4, 4]  # weight, bias, mean and variance; the first update copies
    assert copy.module.norm.num_batches_tracked == 3


class Buffered(pl.LightningModule):
    """A batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(2)


def test_the_average_follows_the_module_and_its_count_stays_on_the_host(tmp_path: Path) -> None:
    average, module, run = ExponentialAverage(0.9), Buffered(), trainer(tmp_path)
    average.setup(run, module, "fit")
    average.on_fit_start(run, module.to("meta"))
    copy: Any = average._average_model
    assert {each.device.type for each in copy.module.state_dict().values()} == {"meta"}
    assert copy.n_averaged.device.type == "cpu"


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
    metrics = stopped / "run" / "metrics.csv"
    assert list(column(metrics, "val_raw/AP")) == list(column(metrics, "val/AP")) == [5, 11]
    found = (stopped / "run/detections.json").read_text()
    again = forked_run.start("train", *RUN, folder=stopped)  # the end of it, once more
    assert forked_run.ended(again) == 0
    assert (stopped / "run/detections.json").read_text() == found
    best, slim = (RunCheckpoint.read(stopped / "run/checkpoints" / name) for name in (BEST, SLIM))
    assert best.averaged == slim.averaged == best.step
    for name, tensor in slim.detector.items():
        assert torch.equal(tensor, best.detector[name])
    assert any(not torch.equal(slim.detector[name], raw) for name, raw in trained(best).items())
    evaluated = forked_run.start("evaluate", "ckpt=run", "hydra.run.dir=again", folder=stopped)
    assert forked_run.ended(evaluated) == 0
    told = f"best.ckpt: moving average of the weights (EMA) after {best.averaged} updates\n"
    assert told in (stopped / "evaluate.log").read_text()


def trained(checkpoint: RunCheckpoint) -> dict[str, Tensor]:
    assert checkpoint.trainer is not None
    state = checkpoint.trainer["current_model_state"].items()
    return {name.removeprefix(PREFIX): each for name, each in state if name.startswith(PREFIX)}
