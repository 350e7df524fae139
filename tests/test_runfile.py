"""A run's file: read for ever, safely, from a file or a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from detbox.commands.changes import check_resumable
from detbox.engine.atomic import AtomicCheckpointIO
from detbox.errors import CheckpointError
from detbox.runfile import BEST, LAST, SLIM, TO_RESUME, RunCheckpoint, run_file
from detbox.structures import LabelSpace

SPACE = LabelSpace(("cat", "dog"), (1, 7))
CONFIG: dict[str, Any] = {"backbone": {"name": "x"}, "neck": {"dim": 8}, "model": {"name": "y"}}


def run(**state: Any) -> RunCheckpoint:
    return RunCheckpoint(CONFIG, SPACE, nn.Linear(2, 3).state_dict(), **state)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    ours = run(trainer={"optimizer_states": [{"step": 1}], "global_step": 5})
    ours.write(tmp_path / "a.ckpt")
    found = RunCheckpoint.read(tmp_path / "a.ckpt")
    assert (found.config, found.label_space, found.trainer) == (CONFIG, SPACE, ours.trainer)
    torch.testing.assert_close(dict(found.detector), dict(ours.detector))
    other = nn.Linear(2, 3)
    found.fill(other)
    torch.testing.assert_close(dict(other.state_dict()), dict(ours.detector))


def test_a_file_says_which_weights_it_holds(tmp_path: Path) -> None:
    told = {24: "moving average of the weights (EMA) after 24 updates", 0: "weights as trained"}
    for averaged, line in told.items():
        run(averaged=averaged).write(tmp_path / "a.ckpt")
        assert RunCheckpoint.read(tmp_path / "a.ckpt").weights == line


def test_files_of_the_first_release_are_read(tmp_path: Path) -> None:
    header = {"config": CONFIG, "label_space": SPACE.to_dict()}
    torch.save({"state_dict": {"detector.w": torch.ones(1)}, "detbox": header}, tmp_path / "a.ckpt")
    found = RunCheckpoint.read(tmp_path / "a.ckpt")
    assert (found.format, list(found.detector), found.trainer) == (1, ["w"], None)


def test_a_newer_format_is_refused_with_both_versions(tmp_path: Path) -> None:
    header = {"config": CONFIG, "label_space": SPACE.to_dict(), "format": 99, "version": "7.0"}
    torch.save({"state_dict": {}, "detbox": header}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=r"format 99, written by detbox 7\.0.*up to 1"):
        RunCheckpoint.read(tmp_path / "a.ckpt")


def test_an_official_file_is_refused_with_what_to_type(tmp_path: Path) -> None:
    torch.save({"model": {"w": torch.ones(1)}}, tmp_path / "a.pth")
    with pytest.raises(
        CheckpointError, match=r"init=.*a\.pth, or convert it: python tools/convert"
    ):
        RunCheckpoint.read(tmp_path / "a.pth")


def test_a_detector_that_does_not_fit_is_refused_in_one_report() -> None:
    other = nn.Linear(2, 4)
    other.register_buffer("more", torch.zeros(1))
    told = r"1 missing \(more\), 2 unlike \(bias \(3,\), expected \(4,\), weight \(3, 2\)"
    with pytest.raises(CheckpointError, match=told):
        run().fill(other)


def test_a_run_folder_stands_for_the_file_that_is_meant(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoints"
    for name in (LAST, SLIM, BEST):
        run().write(folder / name)
    assert run_file(tmp_path / "run") == run_file(folder) == folder / BEST
    assert run_file(tmp_path / "run", TO_RESUME) == folder / LAST
    assert run_file(folder / SLIM) == folder / SLIM
    (folder / BEST).unlink()
    assert run_file(tmp_path / "run") == folder / SLIM
    with pytest.raises(FileNotFoundError, match=r"the folder has no last\.ckpt"):
        run_file(tmp_path, TO_RESUME)


def test_the_best_weights_lie_beside_the_best_checkpoint(tmp_path: Path) -> None:
    header = {"config": CONFIG, "label_space": SPACE.to_dict()}
    whole = {"state_dict": {"detector.w": torch.ones(1)}, "detbox": header, "optimizer_states": [1]}
    for name in (LAST, BEST):
        AtomicCheckpointIO().save_checkpoint(whole, tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((BEST, SLIM, LAST))
    assert RunCheckpoint.read(tmp_path / BEST).trainer is not None
    slim = RunCheckpoint.read(tmp_path / SLIM)
    assert slim.trainer is None
    with pytest.raises(CheckpointError, match=r"holds weights alone.*init=FILE"):
        check_resumable(slim, CONFIG, SPACE)


def test_a_run_from_before_a_setting_goes_on_and_another_value_is_refused() -> None:
    ours = run(trainer={"optimizer_states": []})
    check_resumable(ours, {**CONFIG, "backbone": {"name": "x", "new": False}}, SPACE)
    with pytest.raises(CheckpointError, match=r"neck\.dim 8 -> 16: the weights are"):
        check_resumable(ours, {**CONFIG, "neck": {"dim": 16}}, SPACE)


def loops(epoch: int, ended: bool) -> dict[str, Any]:
    """The part of Lightning's state that says where in an epoch it is."""
    progress = {"current": {"ready": epoch, "processed": epoch - 1}}
    batches = {"is_last_batch": ended}
    return {"fit_loop": {"epoch_progress": progress, "epoch_loop.batch_progress": batches}}


@pytest.mark.parametrize(
    ("trainer", "place"),
    [
        ({"epoch": 4, "global_step": 160}, "epoch 5, step 160"),
        ({"global_step": 150, "loops": loops(5, ended=False)}, "epoch 5, step 150"),
        ({"global_step": 160, "loops": loops(5, ended=True)}, "epoch 6, step 160"),
        (
            {"global_step": 1, "callbacks": {"b": {"best_model_score": torch.tensor(0.212)}}},
            "epoch 1, step 1, best AP 0.212",
        ),
    ],
)
def test_a_file_says_where_its_run_goes_on(trainer: dict[str, Any], place: str) -> None:
    assert run(trainer=trainer).place == place
