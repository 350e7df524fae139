"""Recipes: their values are pinned by version, and their headers say what they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from recipe_pins import BASE, CONF, NAMES, faults, read, resolved, stored
from tiny import TINY

import detbox
from detbox.build import check_settings
from detbox.commands.train import train
from detbox.runfile import RunCheckpoint

PINS = read()
TABLE = Path(__file__).parents[1] / "docs" / "recipes.md"


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_what_its_version_was(name: str) -> None:
    cfg = detbox.compose(f"experiment={name}")
    check_settings(cfg)
    assert re.fullmatch(rf"{name}@[1-9]\d*", cfg.recipe)
    assert not (wrong := faults(PINS, cfg.recipe, resolved(cfg))), "\n".join(wrong)
    title, command = (CONF / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[1:3]
    assert f"experiment={name}" in command
    if re.search(r"_\d+e(_|$)", name):  # of a paper
        said = re.search(r", (\d+) epochs, batch (\d+), lr (\S+?)[.,]? ", title)
        assert said, f"{name}: its header lacks epochs, batch or lr"
        found = (cfg.trainer.max_epochs, cfg.lr_batch, cfg.optimizer.lr)
        assert (int(said[1]), int(said[2]), float(said[3])) == found
    rows = TABLE.read_text(encoding="utf-8").splitlines()
    assert any(row.startswith(f"| `{name}` | {cfg.recipe.partition('@')[2]} |") for row in rows)


def test_no_pin_is_left_behind() -> None:
    assert sorted({recipe.partition("@")[0] for recipe in PINS} - {BASE}) == NAMES


def test_a_value_that_changes_or_goes_asks_for_the_next_version() -> None:
    recipe = "dino_r50_12e@2"
    values = stored(PINS, recipe)
    assert faults(PINS, recipe, values) == []
    (told,) = faults(PINS, recipe, {**values, "model.num_denoising": 300})
    assert "model.num_denoising is 300, was 100; state the old value in conf/experiment/" in told
    assert "make it dino_r50_12e@3 and run python tests/recipe_pins.py" in told
    del values["optimizer.lr"]
    (told,) = faults(PINS, recipe, values)
    assert "optimizer.lr is (none), was 0.0001" in told


def test_a_new_setting_asks_for_its_pin_alone() -> None:
    recipe = "dino_r50_12e@2"
    (told,) = faults(PINS, recipe, {**stored(PINS, recipe), "model.depth": 2})
    assert told.endswith("not pinned yet: model.depth; run python tests/recipe_pins.py")
    (told,) = faults(PINS, "dino_r50_12e@3", {})
    assert told == "dino_r50_12e@3 is not pinned yet: run python tests/recipe_pins.py"


def test_a_run_says_its_recipe_and_its_file_keeps_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = "experiment=align_dino_r50_12e"
    figures = train(detbox.compose(recipe, "data=shapes", "trainer=smoke", *TINY), tmp_path)
    assert "AP" in figures
    assert "recipe align_dino_r50_12e@2" in capsys.readouterr().out.splitlines()
    kept = RunCheckpoint.read(tmp_path).config
    assert (kept["recipe"], kept["matcher"]["name"]) == ("align_dino_r50_12e@2", "mixed")
    assert kept["criterion"]["pair_weight"] == {"name": "prime", "alpha": 0.25, "tau": 1.5}
