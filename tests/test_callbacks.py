"""Callbacks: one order however they are typed, each set or switched off from the command line."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from lightning.pytorch.callbacks import Callback
from tiny import TINY, run
from training_toys import context

import detbox
from detbox.callbacks import CALLBACKS, Stage, assemble, register_callback
from detbox.engine.best import BestCheckpoint
from detbox.engine.last import LastCheckpoint
from detbox.evaluation.pictures import ContactSheet
from detbox.figures import Figures


def test_every_callback_is_in_a_list() -> None:
    ours = {name for name in CALLBACKS.names() if not name.startswith("toy_")}
    more = ("ema", "early_stopping")
    default = {each.name for each in detbox.compose().callbacks.values()}
    for name in more:
        chosen = detbox.compose(f"callbacks={name}").callbacks
        assert {each.name for each in chosen.values()} == {*default, name}
    assert {*default, *more} == ours


def test_the_order_is_that_of_the_stages_however_it_is_typed(tmp_path: Path) -> None:
    chosen = {key: {"name": key} for key in ("seeding", "terms", "pictures", "timing")}
    backwards = dict(reversed(chosen.items()))
    names = [
        [type(each).__name__ for each in assemble(order, context(tmp_path))]
        for order in (chosen, backwards)
    ]
    assert names == [["SeedEveryStep", "TermsLogger", "ContactSheet", "StepTimer"]] * 2


def test_a_foreign_callback_takes_the_place_of_its_stage(tmp_path: Path) -> None:
    class Foreign(Callback):
        pass

    register_callback("toy_foreign", Stage.EVALUATION)(lambda context: [Foreign()])
    chosen = {"pictures": {"name": "pictures"}, "mine": {"name": "toy_foreign"}}
    found = assemble({**chosen, "terms": {"name": "terms"}}, context(tmp_path))
    assert [type(each).__name__ for each in found] == ["TermsLogger", "Foreign", "ContactSheet"]


@pytest.mark.parametrize("off", ["callbacks.pictures=null", "~callbacks.pictures"])
def test_one_is_switched_off_or_set(off: str, tmp_path: Path) -> None:
    short = ("callbacks=evaluation", "~callbacks.evaluation")
    chosen = detbox.compose(*short, off).callbacks
    assert len(assemble(chosen, context(tmp_path))) == 1
    chosen = detbox.compose(*short, "callbacks.pictures.count=4").callbacks
    (sheet,) = [e for e in assemble(chosen, context(tmp_path)) if isinstance(e, ContactSheet)]
    assert sheet.count == 4


def test_checkpoints_follow_what_the_run_is(tmp_path: Path) -> None:
    chosen = {"checkpoints": {"name": "checkpoints"}}
    assert assemble(chosen, context(tmp_path, training=False)) == []
    for promised, kinds in ((True, [BestCheckpoint, LastCheckpoint]), (False, [LastCheckpoint])):
        given = context(tmp_path)
        given.figures.promised = promised
        assert [type(each) for each in assemble(chosen, given)] == kinds
    assert not Figures().promised


@pytest.mark.slow
def test_a_run_without_timing_and_pictures_logs_and_draws_neither(tmp_path: Path) -> None:
    chosen = ("callbacks.timing=null", "~callbacks.pictures", "callbacks.progress.every=1")
    done = run("train", *TINY, *chosen, "trainer.max_epochs=1", "hydra.run.dir=r", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "step 1/" in done.stdout
    assert not (tmp_path / "r/pictures.jpg").exists()
    with (tmp_path / "r/metrics.csv").open() as file:
        columns = set(next(csv.reader(file)))
    assert "val/AP" in columns
    assert not {name for name in columns if name.startswith("time/")}


@pytest.mark.slow
def test_a_run_without_evaluation_ends_well(tmp_path: Path) -> None:
    chosen = ("callbacks.evaluation=null", "trainer.max_epochs=1", "hydra.run.dir=r")
    done = run("train", *TINY, *chosen, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    left = {path.name for path in (tmp_path / "r/checkpoints").iterdir()}
    assert left == {"last.ckpt"}
