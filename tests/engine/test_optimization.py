"""AdamW, schedules, and how many steps a run will take."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader
from training_toys import ToyModule, grouped_network, loader, trainer

import detbox
from detbox.engine.module import planned_steps
from detbox.engine.optimization import Factor, Optimization
from detbox.errors import SettingError
from detbox.registry import OPTIMIZERS, SCHEDULES


def test_adamw_lowers_the_backbone_and_decays_everything() -> None:
    optimizer = OPTIMIZERS.build({"name": "adamw"}, grouped_network())
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates == pytest.approx({"base": 1e-4, "backbone": 1e-5})
    assert {group["weight_decay"] for group in optimizer.param_groups} == {1e-4}


def schedule(total: int, per_epoch: int, **settings: Any) -> Factor:
    return SCHEDULES.build(settings, total, per_epoch)


def test_a_step_schedule_drops_at_the_start_of_its_epochs() -> None:
    factor = schedule(60, 5, name="step", drops=[0.3, 0.68], gamma=0.1)
    by_epoch = [{factor(index) for index in range(5 * e, 5 * e + 5)} for e in range(12)]
    assert all(len(each) == 1 for each in by_epoch)
    assert [each.pop() for each in by_epoch] == pytest.approx([1] * 4 + [0.1] * 4 + [0.01] * 4)


def test_the_default_step_schedule_is_that_of_twelve_epochs() -> None:
    factor = schedule(120, 10, name="step")
    assert [factor(index) for index in (0, 109, 110, 119)] == pytest.approx([1, 1, 0.1, 0.1])


PUBLISHED = {"12e": (12, 11), "24e": (24, 20), "36e": (36, 30), "50e": (50, 40), "300e": (300, 200)}
RECIPES = sorted(
    file.stem
    for file in (Path(__file__).parents[2] / "conf/experiment").glob("*.yaml")
    if re.search(r"_\d+e(_|$)", file.stem)
)


@pytest.mark.parametrize("experiment", RECIPES)
def test_a_recipe_drops_at_the_published_epoch(experiment: str) -> None:
    cfg = detbox.compose(f"experiment={experiment}")
    epochs, drop = next(PUBLISHED[part] for part in experiment.split("_") if part in PUBLISHED)
    factor = SCHEDULES.build(cfg.schedule, cfg.trainer.max_epochs * 7, 7)
    assert cfg.trainer.max_epochs == epochs
    assert [factor(step) for step in (0, drop * 7 - 1, drop * 7)] == pytest.approx([1, 1, 0.1])


def test_a_longer_run_drops_later() -> None:
    cfg = detbox.compose("experiment=dino_r50_36e", "trainer.max_epochs=72").schedule
    factor = SCHEDULES.build(cfg, 72 * 5, 5)
    assert [factor(step) for step in (60 * 5 - 1, 60 * 5)] == pytest.approx([1, 0.1])


@pytest.mark.parametrize("total", [100, 60, 1000])
def test_a_run_of_one_epoch_or_less_drops_at_the_share_of_its_steps(total: int) -> None:
    factor = schedule(total, 1000, name="step")
    drop = round(0.92 * total)
    assert [factor(step) for step in (drop - 1, drop)] == pytest.approx([1, 0.1])


@pytest.mark.parametrize("share", [0, 1, 11])
def test_a_drop_that_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(SettingError, match=r"between 0 and 1, got .*schedule\.drops=\[0\.92\]"):
        schedule(10, 5, name="step", drops=[share])


def test_half_a_cosine_goes_from_one_to_the_final_factor() -> None:
    factor = schedule(100, 10, name="cosine", final_factor=0.2)
    values = [factor(index) for index in range(101)]
    assert values[0] == 1
    assert values[50] == pytest.approx(0.6)
    assert values[100] == pytest.approx(0.2)
    assert values == sorted(values, reverse=True)
    assert factor(150) == pytest.approx(0.2)


@pytest.mark.parametrize("name", ["step", "cosine"])
def test_warm_up_rises_linearly_and_never_starts_at_zero(name: str) -> None:
    factor = schedule(1000, 100, name=name, warmup_steps=4)
    assert [factor(index) for index in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize("name", ["step", "cosine"])
def test_a_run_that_is_all_warm_up_still_has_a_schedule(name: str) -> None:
    factor = schedule(3, 3, name=name, warmup_steps=5)
    assert all(0 < factor(index) < 1 for index in range(3))


def test_the_schedule_multiplies_every_groups_own_rate() -> None:
    optimization = Optimization(
        OPTIMIZERS.bind({"name": "adamw", "lr": 1.0}), SCHEDULES.bind({"name": "cosine"})
    )
    made = optimization(grouped_network(), 10, 5)
    assert made["lr_scheduler"]["interval"] == "step"
    for _ in range(5):
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    rates = {group["name"]: group["lr"] for group in made["optimizer"].param_groups}
    assert rates == pytest.approx({"base": 0.5, "backbone": 0.05})


class ToyData(pl.LightningDataModule):
    """So many batches for training, and how often its loader was opened."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.train_batches = batches
        self.opened = 0

    def train_dataloader(self) -> DataLoader:
        self.opened += 1
        return loader(self.train_batches)


class Planner(ToyModule):
    """Remembers the plan, and the steps done at the end of each epoch."""

    def on_train_start(self) -> None:
        self.planned = planned_steps(self.trainer)
        self.done: list[int] = []

    def on_train_epoch_end(self) -> None:
        self.done.append(self.trainer.global_step)


RUNS: list[dict[str, Any]] = [
    {"max_epochs": 2},
    {"max_epochs": 2, "accumulate_grad_batches": 3},
    {"max_epochs": 2, "accumulate_grad_batches": 20},
    {"max_epochs": 2, "limit_train_batches": 3},
    {"max_epochs": 2, "limit_train_batches": 30},
    {"max_epochs": 2, "limit_train_batches": 0.55},
    {"max_epochs": 2, "limit_train_batches": 5, "accumulate_grad_batches": 2},
    {"max_epochs": 3, "max_steps": 9},
    {"max_epochs": 1, "max_steps": 99},
    {"max_epochs": 3, "max_steps": 5, "accumulate_grad_batches": 3},
    {"max_epochs": -1, "max_steps": 9},
]


@pytest.mark.filterwarnings(
    "ignore:.*does not have many workers:UserWarning",
    "ignore:.*no `val_dataloader`:UserWarning",
    "ignore:.*LeafSpec:FutureWarning",
)
@pytest.mark.parametrize("settings", RUNS, ids=str)
def test_the_planned_steps_are_those_a_trainer_takes(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    module, data = Planner(), ToyData(7)
    trainer(tmp_path, **settings).fit(module, datamodule=data)
    total, per_epoch = module.planned
    assert module.trainer.global_step == total
    assert module.done[0] == min(per_epoch, total)
    assert data.opened == 1
    assert torch.isfinite(module.detector.weight).all()
