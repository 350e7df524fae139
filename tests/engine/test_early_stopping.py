"""A training ends where AP no longer rises, and counts its validations over restarts."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
from training_toys import ToyModule, context, loader, trainer

from detbox.callbacks import assemble
from detbox.engine.early_stopping import StopWithoutProgress
from detbox.errors import SettingError

APS = (0.1, 0.3, 0.2, 0.3, 0.25, 0.9)


class Scores(pl.Callback):
    """Logs the next AP after each validation."""

    def on_validation_epoch_end(self, run: pl.Trainer, module: pl.LightningModule) -> None:
        module.log("val/AP", APS[run.current_epoch])


class Save(pl.Callback):
    """Keeps `last.ckpt` after each validation."""

    def on_validation_end(self, run: pl.Trainer, module: pl.LightningModule) -> None:
        run.save_checkpoint(Path(run.default_root_dir) / "last.ckpt")


def fit(
    folder: Path, patience: int = 2, min_delta: float = 0.0, last: Path | None = None, **more: Any
) -> pl.Trainer:
    callbacks = [Scores(), StopWithoutProgress(patience, min_delta), Save()]
    run = trainer(folder, callbacks=callbacks, **{"max_epochs": len(APS), **more})
    run.fit(ToyModule(), loader(1), loader(1), ckpt_path=last, weights_only=True)
    return run


@pytest.mark.parametrize(
    ("patience", "min_delta", "epochs"), [(2, 0.0, 4), (3, 0.0, 5), (4, 0.0, 6), (2, 0.25, 3)]
)
def test_a_training_ends_without_a_rise(
    patience: int, min_delta: float, epochs: int, tmp_path: Path
) -> None:
    assert fit(tmp_path, patience, min_delta).global_step == epochs


def test_the_count_goes_on_where_it_was(tmp_path: Path) -> None:
    fit(tmp_path, max_epochs=3)
    last = tmp_path / "last.ckpt"
    assert fit(tmp_path / "more", last=last).global_step == 4
    assert fit(tmp_path / "patient", 3, last=last).global_step == 5


def test_a_run_that_ended_so_does_not_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(tmp_path)
    with caplog.at_level(logging.INFO, "detbox"):
        again = fit(tmp_path / "again", last=tmp_path / "last.ckpt")
    assert again.global_step == 4
    assert "stopped early: AP has not risen above 0.300 for 2 validations" in caplog.text


def test_a_run_that_ends_otherwise_is_not_said_to_have_stopped_early(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = Scores()
    monkeypatch.setattr(
        ends, "on_train_batch_end", lambda run, *_: setattr(run, "should_stop", True)
    )
    run = trainer(tmp_path, callbacks=[ends, StopWithoutProgress(2, 0.0)], max_epochs=3)
    with caplog.at_level(logging.INFO, "detbox"):
        run.fit(ToyModule(), loader(1), loader(1))
    assert run.global_step == 1
    assert "stopped early" not in caplog.text


def test_without_an_evaluation_it_is_refused(tmp_path: Path) -> None:
    chosen = {"stop": {"name": "early_stopping"}}
    with pytest.raises(SettingError, match=r"callbacks\.evaluation is off"):
        assemble(chosen, context(tmp_path))
    assert assemble(chosen, context(tmp_path, training=False)) == []
