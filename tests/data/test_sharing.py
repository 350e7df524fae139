"""How many pictures each process takes, and which learning rate belongs to a step."""

from __future__ import annotations

from pathlib import Path

import pytest

import detbox
from detbox.build import build_data
from detbox.commands.train import share_step
from detbox.data.dataset import Loading
from detbox.data.sharing import StepBatch, share
from detbox.errors import SettingError
from detbox.registry import TRAINERS

SMALL = ("data.image_size=64", "data.train_images=12", "data.val_images=5")
RECIPES = sorted(p.stem for p in Path(__file__).parents[2].glob("conf/experiment/*.yaml"))
CPU = ("trainer.accelerator=cpu", "trainer.devices=1")


def loading(total: int | None) -> Loading:
    return Loading(4, 1, 0, total)


@pytest.mark.parametrize(("processes", "accumulated"), [(1, 1), (8, 1), (2, 4), (16, 1), (1, 8)])
def test_a_step_is_the_total_on_any_machine(processes: int, accumulated: int) -> None:
    step = share(loading(16), processes, accumulated)
    assert step.total == 16
    assert step.pictures == 16 // (processes * accumulated)


def test_without_a_total_every_process_takes_its_batch() -> None:
    assert share(loading(None), 2, 2) == StepBatch(2, 4, 2)


@pytest.mark.parametrize(
    ("total", "processes", "accumulated", "fitting"),
    [(16, 3, 1, "15 or 18"), (20, 8, 2, "16 or 32"), (4, 8, 1, "8")],
)
def test_a_total_that_does_not_divide_names_those_that_do(
    total: int, processes: int, accumulated: int, fitting: str
) -> None:
    with pytest.raises(SettingError, match=rf"try data\.total_batch={fitting},"):
        share(loading(total), processes, accumulated)


def test_a_total_of_nothing_is_refused() -> None:
    with pytest.raises(SettingError, match="total_batch must be at least 1"):
        detbox.build.build_dataset(detbox.compose("data.total_batch=0"))


def test_a_line_says_what_a_step_is() -> None:
    assert (
        str(StepBatch(2, 4, 2)) == "2 processes x 4 pictures x 2 accumulated = 16 pictures a step"
    )


def test_the_rate_is_in_proportion_to_the_step() -> None:
    advice = StepBatch(1, 2, 1).advice(1e-4, 16)
    assert "give optimizer.lr=1.25e-05 lr_batch=2 or trainer.accumulate_grad_batches=8" in advice
    assert "accumulate" not in StepBatch(1, 3, 1).advice(1e-4, 16)
    assert StepBatch(8, 2, 1).advice(1e-4, 16) == ""


@pytest.mark.parametrize(
    ("given", "lines", "length"),
    [
        ((), [], 3),
        (("data.total_batch=6",), ["1 process x 6 pictures x 1 accumulated = 6 pictures"], 2),
        (("data.total_batch=6", "trainer.accumulate_grad_batches=2"), ["1 process x 3 pict"], 4),
        (("lr_batch=16",), ["optimizer.lr=0.0001 is for 16 pictures a step, this run takes 4"], 3),
    ],
)
def test_a_run_takes_its_share_and_says_so(
    given: tuple[str, ...],
    lines: list[str],
    length: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cfg = detbox.compose(*SMALL, *CPU, "data.batch_size=4", *given)
    data = build_data(cfg)
    _ = data.train  # says what it read
    capsys.readouterr()
    share_step(cfg, data, TRAINERS.build(cfg.trainer, tmp_path, [], []))
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(lines)
    assert all(line.startswith(start) for line, start in zip(printed, lines, strict=True))
    assert len(data.train_dataloader()) == length


@pytest.mark.parametrize(
    "name", sorted(p.stem for p in (Path(__file__).parents[2] / "conf/experiment").glob("*.yaml"))
)
def test_a_recipe_on_its_own_machine_needs_no_advice(name: str) -> None:
    cfg = detbox.compose(f"experiment={name}")
    devices = cfg.trainer.devices if isinstance(cfg.trainer.devices, int) else 1
    total = share(detbox.build.build_dataset(cfg).loading, devices, 1).total
    assert cfg.lr_batch == total
