"""What is typed outranks an experiment."""

from __future__ import annotations

from pathlib import Path

import pytest

import detbox
from detbox.outranking import outranked, stated_keys

CONF = Path(__file__).parents[1] / "conf"
RECIPES = sorted(file.stem for file in (CONF / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_smoke_run_of_any_recipe_is_one_step(recipe: str) -> None:
    added = outranked([f"experiment={recipe}", "trainer=smoke"])
    by_its_plan = recipe == "finetune"  # which leaves what `trainer=smoke` states
    assert (added[0] == "trainer.max_epochs=1") != by_its_plan


def test_what_typed_options_state_counts_as_typed() -> None:
    keys = stated_keys(["experiment=quickstart", "trainer=smoke", "seed=3"])
    assert {"trainer.max_epochs", "trainer.max_steps"} <= keys
    assert "model.num_queries" not in keys


def test_a_typed_option_keeps_what_it_states() -> None:
    cfg = detbox.compose("trainer=smoke", "experiment=bccd_quick", "criterion=varifocal")
    assert (cfg.trainer.max_epochs, cfg.trainer.max_steps) == (1, 1)
    quick = detbox.compose("experiment=quickstart", "criterion=varifocal")
    assert quick.criterion.weights == detbox.compose("criterion=varifocal").criterion.weights
    assert detbox.compose("experiment=quickstart").criterion.weights["class"] == 3


def test_what_the_option_leaves_open_is_the_experiments() -> None:
    cfg = detbox.compose("experiment=quickstart", "backbone=resnet18")
    assert cfg.backbone.pretrained == "false"


def test_a_swept_option_that_cannot_outrank_is_said(caplog: pytest.LogCaptureFixture) -> None:
    line = ["-m", "experiment=bccd_quick", "trainer=smoke,default"]
    assert outranked(line) == line
    assert "trainer.max_epochs" in caplog.text
    assert "experiment=bccd_quick" in caplog.text


def test_a_typed_value_outranks_a_typed_option() -> None:
    cfg = detbox.compose("trainer.max_epochs=2", "experiment=bccd_quick", "trainer=smoke")
    assert cfg.trainer.max_epochs == 2


def test_a_sweep_over_recipes_is_outranked_too() -> None:
    line = ["-m", "experiment=bccd_quick,quickstart", "trainer=smoke", "seed=0,1"]
    stated = ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1"]
    assert outranked(line) == [*stated, *line]


@pytest.mark.parametrize(
    "line",
    [
        *(["trainer=smoke"], ["experiment=quickstart"], ["experiment=no"]),
        ["experiment=quickstart", "optimizer.lr=interval(0.1,0.2)"],
    ],
)
def test_without_both_nothing_is_added(line: list[str]) -> None:
    assert outranked(line) == line
