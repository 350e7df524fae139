"""`ckpt=RUN` alone goes on with the settings of the run; what differs is told or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import MODEL

import detbox
from detbox.build import plain
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
    cfg = settings_of_run(detbox.compose(f"ckpt='{run.path}'"), ["ckpt", "hydra.run.dir"])
    assert (cfg.model.num_queries, cfg.data.batch_size, cfg.ckpt) == (8, 3, str(run.path))
    assert run.changed(plain(cfg)) == []


def test_what_is_typed_comes_before_what_is_stored(run: RunCheckpoint) -> None:
    typed = {"ckpt": f"'{run.path}'", "data.batch_size": "5", "seed": "3"}
    composed = detbox.compose(*(f"{key}={value}" for key, value in typed.items()))
    cfg = settings_of_run(composed, typed)
    assert (cfg.data.batch_size, cfg.seed, cfg.model.num_queries) == (5, 3, 8)
    assert sorted(run.changed(plain(cfg))) == ["data.batch_size=5 (so far 3)", "seed=3 (so far 0)"]
    run.check_resumable(plain(cfg), SPACE)


def test_whoever_chooses_a_model_gives_all_settings(run: RunCheckpoint) -> None:
    composed = detbox.compose("model=dino", f"ckpt='{run.path}'")
    assert settings_of_run(composed, ["model", "ckpt"]) is composed


def test_data_of_the_same_kind_leave_the_other_settings(run: RunCheckpoint) -> None:
    composed = detbox.compose(f"ckpt='{run.path}'", "data=shapes", "data.val_images=7")
    cfg = settings_of_run(composed, ["ckpt", "data", "data.val_images"])
    assert (cfg.model.num_queries, cfg.data.batch_size, cfg.data.val_images) == (8, 3, 7)


def test_another_learning_rate_is_refused(run: RunCheckpoint) -> None:
    composed = detbox.compose(f"ckpt='{run.path}'", "optimizer.lr=0.1")
    cfg = settings_of_run(composed, ["ckpt", "optimizer.lr"])
    with pytest.raises(CheckpointError, match=r"not with optimizer.lr=0.1 \(so far 0.5\).*init="):
        run.check_resumable(plain(cfg), SPACE)


def test_fewer_epochs_than_are_done_are_refused(run: RunCheckpoint) -> None:
    run.trainer["epoch"] = 2  # the third, with nothing of it
    cfg = detbox.compose(*MODEL, "trainer.max_epochs=1", "optimizer.lr=0.5")
    with pytest.raises(CheckpointError, match="behind the 2 epochs that are done; give 3 or more"):
        run.check_resumable(plain(cfg), SPACE)
    run.check_resumable({**plain(cfg), "trainer": {"max_epochs": 2}}, SPACE)
