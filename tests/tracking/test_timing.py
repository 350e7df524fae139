"""Step times: the parts, their sum, and that nothing stays behind."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset
from training_toys import ToyModule, batch, loader, trainer

from detbox.console.lines import quiet
from detbox.structures import Batch
from detbox.tracking import timing, waiting
from detbox.tracking.gradients import GradientNorm
from detbox.tracking.timing import PARTS, StepTimer

DATA, FORWARD, LOSS, SLACK = 0.02, 0.06, 0.1, 0.04


class SlowData(IterableDataset):
    """Four batches, each late."""

    def __iter__(self) -> Iterator[Batch]:
        for _ in range(4):
            time.sleep(DATA)
            yield batch()


def test_parts_of_a_step_are_told_apart_and_add_up(tmp_path: Path) -> None:
    quiet()
    fit = trainer(tmp_path, callbacks=[StepTimer()], log_every_n_steps=4)
    start = time.perf_counter()
    fit.fit(ToyModule(FORWARD, LOSS), DataLoader(SlowData(), batch_size=None), loader(1))
    passed = time.perf_counter() - start
    times = {name: float(value) for name, value in fit.callback_metrics.items()}
    assert DATA * 0.7 <= times["time/data"] < DATA + SLACK  # the loader works ahead by one batch
    assert FORWARD <= times["time/forward"] < FORWARD + SLACK
    assert LOSS <= times["time/loss"] < LOSS + SLACK
    step = sum(times[f"time/{part}"] for part in PARTS)
    assert FORWARD + LOSS < step <= passed / 4
    assert times["time/data_share"] == pytest.approx(times["time/data"] / step, rel=1e-4)
    assert times["time/images_per_second"] == pytest.approx(2 / step, rel=1e-4)


def test_validation_in_mid_epoch_is_in_no_part(tmp_path: Path) -> None:
    quiet()
    fit = trainer(tmp_path, callbacks=[StepTimer()], val_check_interval=1)
    fit.fit(ToyModule(forward=0.05), loader(2), loader(4))
    assert sum(float(fit.callback_metrics[f"time/{part}"]) for part in PARTS) < 0.1


@pytest.mark.parametrize("fails", [False, True])
def test_hooks_are_gone_after_the_fit(
    tmp_path: Path, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet()
    module = ToyModule()
    if fails:
        monkeypatch.setattr(module.criterion, "forward", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            trainer(tmp_path, callbacks=[StepTimer()]).fit(module, loader(1), loader(1))
    else:
        trainer(tmp_path, callbacks=[StepTimer()]).fit(module, loader(1), loader(1))
    for part in (module.detector, module.criterion):
        assert not part._forward_pre_hooks
        assert not part._forward_hooks


def test_gradient_norm_is_the_one_before_clipping(tmp_path: Path) -> None:
    quiet()
    module = ToyModule()
    fit = trainer(tmp_path, callbacks=[GradientNorm()], gradient_clip_val=0.1)
    fit.fit(module, loader(1), loader(1))
    share = batch().images.pixels.float().mean() / 255  # d loss / d weight is 8 * share, twice
    norm = torch.full((2,), 8 * float(share)).norm()
    assert float(fit.callback_metrics["train/grad_norm"]) == pytest.approx(float(norm), rel=1e-5)


class Clock:
    """Stamps that are what the test wants them to be."""

    def now(self) -> float:
        return 0.0

    def seconds(self, stamps: list[float]) -> list[float]:
        return stamps


def test_an_epoch_that_waited_says_so_and_others_only_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps' seconds are given, two steps an epoch, of which the very first does not count."""
    quiet()
    data = iter([9.0, 0.2, 0.1, 0.1, 0.9, 0.7, 0.0, 0.0, 0.1, 0.1])
    monkeypatch.setattr(timing, "clock_of", lambda _: Clock())
    monkeypatch.setattr(Clock, "seconds", lambda *_: [next(data), 0.3, 0.3, 0.2])
    monkeypatch.setattr(waiting, "available_cores", lambda: 8)
    fit = trainer(tmp_path, callbacks=[StepTimer()], max_epochs=5, log_every_n_steps=3)
    with caplog.at_level(logging.INFO, "detbox"):
        fit.fit(ToyModule(), loader(2), loader(1))
    told = [each.getMessage() for each in caplog.records if "bound" in each.getMessage()]
    assert told == [
        "compute-bound: 20% of a step waits for data",
        "data-bound: 50% of a step waits for data; try data.workers=8 (now 0)",
        "compute-bound: 0% of a step waits for data",
    ]


def test_advice_depends_on_the_cores_that_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "available_cores", lambda: 8)
    assert waiting.verdict(0.5, 2, per_machine=2).endswith("try data.workers=4 (now 2)")
    for workers, loaders in ((8, 1), (4, 2), (None, 1), (1, 16)):
        assert "every core loads already" in waiting.verdict(0.25, workers, loaders)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_parts_add_up_to_the_time_of_the_host(tmp_path: Path) -> None:
    quiet()
    fit = trainer(tmp_path, accelerator="gpu", devices=1, callbacks=[StepTimer()])
    fit.fit(ToyModule(FORWARD, LOSS), loader(4), loader(1))
    step = sum(float(fit.callback_metrics[f"time/{part}"]) for part in PARTS)
    assert FORWARD + LOSS < step < FORWARD + LOSS + 0.05
