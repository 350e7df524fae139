"""The best weights as an artifact: in an offline run's file, and what is said where it fails."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from wandb_helpers import records

from detbox.tracking.loggers import build_loggers, close_loggers
from detbox.tracking.wandb_artifact import keep_artifact


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    file = tmp_path / "checkpoints" / "best_weights.ckpt"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    return file


@pytest.mark.slow
@pytest.mark.parametrize("failed", [False, True])
def test_an_offline_run_notes_the_best_weights_if_it_ends_well(
    weights: Path, tmp_path: Path, failed: bool
) -> None:
    settings = {"name": "wandb", "mode": "offline", "upload_best": True}
    loggers = build_loggers(settings, tmp_path, {})
    close_loggers(loggers, failed=failed)
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    deadline = time.monotonic() + 30
    while not any(each.HasField("exit") for each in records(path)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    found = [each.artifact for each in records(path) if each.HasField("artifact")]
    assert len(found) == (not failed)
    for artifact in found:
        assert artifact.type == "model"
        assert artifact.name == f"detector-{artifact.run_id}"
        assert "best" in artifact.aliases
        (kept,) = artifact.manifest.contents
        assert (kept.path, kept.size, kept.local_path) == (weights.name, 7, str(weights))


def run(**more: Any) -> Any:
    """What is read of a W&B run."""
    return SimpleNamespace(**{"id": "abc", "disabled": False, "offline": True, **more})


def test_a_failure_names_the_command_that_uploads(
    weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def late(**_: Any) -> None:
        raise TimeoutError("no answer")

    def log_artifact(artifact: Any, aliases: list[str]) -> Any:
        assert (artifact.name, aliases) == ("detector-abc", ["best"])
        return SimpleNamespace(wait=late)

    keep_artifact(run(offline=False, log_artifact=log_artifact), weights, 0.5)
    assert "best_weights.ckpt is not uploaded (no answer)" in caplog.text
    assert f"put --type model --name detector-abc --alias best {weights}`" in caplog.text


def test_a_run_without_a_best_checkpoint_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        keep_artifact(run(disabled=True), tmp_path / "best_weights.ckpt", 1.0)
        assert not caplog.records
        keep_artifact(run(), tmp_path / "best_weights.ckpt", 1.0)
    assert "it is written where validations have an AP" in caplog.text
