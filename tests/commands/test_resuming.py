"""`ckpt=RUN` alone goes on with the settings of the run; what differs is told or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny import MODEL

import detbox
from detbox.build import plain
from detbox.commands.changes import changes, check_batches, check_resumable
from detbox.commands.resuming import settings_of_run
from detbox.errors import CheckpointError
from detbox.runfile import RunCheckpoint
from detbox.structures import LabelSpace

SPACE = LabelSpace(("disk",), (1,))


@pytest.fixture
def run(tmp_path: Path) -> RunCheckpoint:
    """Of a tiny model with settings of its own, that stopped at a step."""
    cfg = detbox.compose(*MODEL, "data.batch_size=3", "optimizer.lr=0.5")
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    trainer = {"optimizer_states": [], "global_step": 7}
    RunCheckpoint(plain(cfg), SPACE, {}, trainer).write(path)
    return RunCheckpoint.read(path)


def test_the_file_alone_says_how_to_go_on(run: RunCheckpoint) -> None:
    cfg = settings_of_run(run, detbox.compose(f"ckpt='{run.path}'"), ["ckpt", "hydra.run.dir"])
    assert (cfg.model.num_queries, cfg.data.batch_size, cfg.ckpt) == (8, 3, str(run.path))
    assert changes(run.config, plain(cfg)) == []


def test_what_is_typed_comes_before_what_is_stored(run: RunCheckpoint) -> None:
    typed = {"ckpt": f"'{run.path}'", "data.batch_size": "5", "seed": "3"}
    composed = detbox.compose(*(f"{key}={value}" for key, value in typed.items()))
    cfg = settings_of_run(run, composed, typed)
    assert (cfg.data.batch_size, cfg.seed, cfg.model.num_queries) == (5, 3, 8)
    told = [str(each) for each in check_resumable(run, plain(cfg), SPACE)]
    assert told == ["data.batch_size 3 -> 5", "seed 0 -> 3"]


def test_whoever_chooses_a_model_gives_all_settings(run: RunCheckpoint) -> None:
    composed = detbox.compose("model=dino", f"ckpt='{run.path}'")
    assert settings_of_run(run, composed, ["model", "ckpt"]) is composed


def test_another_option_takes_the_place_of_the_runs_and_of_nothing_else(run: RunCheckpoint) -> None:
    typed = {
        "ckpt": f"'{run.path}'",
        "logger": "wandb",
        "logger.mode": "offline",
        "trainer": "smoke",
    }
    composed = detbox.compose(*(f"{key}={value}" for key, value in typed.items()))
    cfg = settings_of_run(run, composed, [*typed, "launcher"])
    assert (cfg.logger.name, cfg.logger.mode, cfg.trainer.max_steps) == ("wandb", "offline", 1)
    assert (cfg.model.num_queries, cfg.optimizer.lr) == (8, 0.5)
    assert "launcher" not in cfg
    assert {each.key.partition(".")[0] for each in changes(run.config, plain(cfg))} == {
        "logger",
        "trainer",
    }


def test_data_of_the_same_kind_leave_the_other_settings(run: RunCheckpoint) -> None:
    composed = detbox.compose(f"ckpt='{run.path}'", "data=shapes", "data.val_images=7")
    cfg = settings_of_run(run, composed, ["ckpt", "data", "data.val_images"])
    assert (cfg.model.num_queries, cfg.data.batch_size, cfg.data.val_images) == (8, 3, 7)


def test_another_learning_rate_is_refused(run: RunCheckpoint) -> None:
    composed = detbox.compose(f"ckpt='{run.path}'", "optimizer.lr=0.1")
    cfg = settings_of_run(run, composed, ["ckpt", "optimizer.lr"])
    with pytest.raises(CheckpointError, match=r"optimizer\.lr 0\.5 -> 0\.1: the optimizer.*init="):
        check_resumable(run, plain(cfg), SPACE)


def test_another_division_is_refused_for_weights_of_the_run_too(run: RunCheckpoint) -> None:
    stored = {**run.config, "data": {**run.config["data"], "val_fraction": 0.2}}
    now = {**stored, "data": {**stored["data"], "val_fraction": 0.3}}
    with pytest.raises(CheckpointError, match="not from weights of this one") as error:
        check_resumable(replace(run, config=stored), now, SPACE)
    assert "init=" not in str(error.value)


def test_fewer_epochs_than_are_done_are_refused(run: RunCheckpoint) -> None:
    run.trainer["epoch"] = 2  # the third, with nothing of it
    cfg = detbox.compose(*MODEL, "trainer.max_epochs=1", "optimizer.lr=0.5")
    with pytest.raises(CheckpointError, match="behind the 2 epochs that are done; give 3 or more"):
        check_resumable(run, plain(cfg), SPACE)
    check_resumable(run, {**plain(cfg), "trainer": {"max_epochs": 2}}, SPACE)


def within_epoch(run: RunCheckpoint, length: int, ready: int, ended: bool) -> RunCheckpoint:
    """The run as it stands at a batch of an epoch."""
    progress = {"current": {"ready": ready}, "is_last_batch": ended}
    place = {"epoch": 0, "yielded": ready, "length": length}
    fit = {"epoch_loop.batch_progress": progress, "state_dict": {"combined_loader": [place]}}
    return replace(run, trainer={**(run.trainer or {}), "loops": {"fit_loop": fit}})


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ("seed=3", "seed 0 -> 3: the order of this epoch's pictures"),
        ("trainer.accumulate_grad_batches=2", "batches 1 -> 2: the steps of this epoch"),
        ("trainer.limit_train_batches=2", "limit_train_batches None -> 2: the steps"),
    ],
)
def test_what_an_epoch_depends_on_is_refused_within_it(
    changed: str, told: str, run: RunCheckpoint
) -> None:
    now = plain(detbox.compose(*MODEL, "data.batch_size=3", "optimizer.lr=0.5", changed))
    with pytest.raises(CheckpointError, match=told):
        check_resumable(within_epoch(run, 6, 2, ended=False), now, SPACE)
    assert len(check_resumable(within_epoch(run, 6, 6, ended=True), now, SPACE)) == 1


@pytest.mark.parametrize(
    "more", ["max_epochs=24", "precision=bf16-mixed", "check_val_every_n_epoch=2"]
)
def test_what_contradicts_nothing_is_named_and_taken(more: str, run: RunCheckpoint) -> None:
    options = (
        f"trainer.{more}",
        "data.workers=7",
        "callbacks=early_stopping",
        "callbacks.timing=null",
    )
    now = plain(detbox.compose(*MODEL, "data.batch_size=3", "optimizer.lr=0.5", *options))
    told = [str(each) for each in check_resumable(within_epoch(run, 6, 2, False), now, SPACE)]
    assert told[0].startswith("data.workers ")
    assert told[1].startswith(f"trainer.{more.partition('=')[0]} ")
    assert told[2:] == ["callbacks.timing on -> off", "callbacks.early_stopping off -> on"]


def test_an_epoch_of_another_length_is_refused_within_it(run: RunCheckpoint) -> None:
    now = plain(detbox.compose(*MODEL, "data.batch_size=6", "optimizer.lr=0.5"))
    found = check_resumable(run, now, SPACE)
    with pytest.raises(
        CheckpointError, match=r"of 6 batches, which now has 3 \(data\.batch_size 3"
    ):
        check_batches(within_epoch(run, 6, 2, ended=False), 3, found)
    check_batches(within_epoch(run, 6, 2, ended=False), 6, found)
    check_batches(within_epoch(run, 6, 6, ended=True), 3, found)


def test_a_run_goes_on_with_its_average_or_begins_one(run: RunCheckpoint) -> None:
    settings = (*MODEL, "data.batch_size=3", "optimizer.lr=0.5")
    with_average = plain(detbox.compose(*settings, "callbacks=ema"))
    assert [str(each) for each in check_resumable(run, with_average, SPACE)] == [
        "callbacks.ema off -> on"
    ]
    averaged = replace(run, config=with_average)
    with pytest.raises(
        CheckpointError, match=r"callbacks\.ema on -> off: its average is the model"
    ):
        check_resumable(averaged, plain(detbox.compose(*settings)), SPACE)
    more = plain(detbox.compose(*settings, "callbacks=ema", "callbacks.ema.decay=0.9"))
    assert len(check_resumable(averaged, more, SPACE)) == 1
