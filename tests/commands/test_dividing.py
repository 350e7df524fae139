"""A run keeps the sides of its pictures, in whatever folder it goes on and is judged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from coco_files import box, image, write_files
from omegaconf import DictConfig
from tiny import MODEL, TRAINER

import detbox
from detbox.build import build_data, plain
from detbox.commands.changes import check_resumable
from detbox.commands.dividing import as_in_run, to_judge
from detbox.commands.predict import _validation_images
from detbox.commands.resuming import with_data
from detbox.commands.train import train
from detbox.errors import CheckpointError
from detbox.runfile import RunCheckpoint
from detbox.structures import LabelSpace

DATA = ("data=folder", "data.workers=0", "data.batch_size=2", "data.eval_size=48")
SPACE = LabelSpace(("cat",), (1,))


def folder(root: Path, count: int) -> Path:
    """Pictures without splits."""
    root.mkdir(exist_ok=True)
    boxes = [box(n, n, [5, 5, 20, 20 + n]) for n in range(1, count + 1)]
    write_files(root, "all", images=[image(n) for n in range(1, count + 1)], annotations=boxes)
    return root


@pytest.fixture
def cfg(tmp_path: Path) -> DictConfig:
    """Of a training on a folder that it divides."""
    root = folder(tmp_path / "my pictures", 10)
    settings = (*DATA, f"data.root='{root}'", "data.val_fraction=0.3", "data.train_sizes=[48]")
    return detbox.compose(*MODEL, *TRAINER, "trainer.max_epochs=1", *settings)


def run_of(cfg: DictConfig, path: Path) -> RunCheckpoint:
    """A file of a run in a folder that has a division."""
    trainer = {"optimizer_states": [], "global_step": 7}
    RunCheckpoint(plain(cfg), SPACE, {}, trainer).write(path / "checkpoints" / "last.ckpt")
    division = build_data(cfg).dataset.division
    assert division is not None
    division().write(path / "division.json")
    return RunCheckpoint.read(path / "checkpoints" / "last.ckpt")


def test_a_run_is_resumed_with_its_own_sides(
    cfg: DictConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(cfg, tmp_path / "run")
    sides = json.loads((tmp_path / "run/division.json").read_text())
    assert (len(sides["train"]), len(sides["val"])) == (7, 3)
    folder(tmp_path / "my pictures", 14)
    again = cfg.copy()
    again.ckpt, again.trainer.max_epochs = str(tmp_path / "run/checkpoints/last.ckpt"), 2
    caplog.clear()
    train(again, tmp_path / "next")
    assert "4 images left out that came after the division (first: 0011.png)" in caplog.text
    assert json.loads((tmp_path / "next/division.json").read_text()) == sides


def judged(run: RunCheckpoint, *settings: str) -> list[str]:
    """Validation pictures of an evaluation with those settings typed."""
    cfg, given = detbox.compose("data=folder", *settings), [each.split("=")[0] for each in settings]
    split = build_data(to_judge(with_data(run.recipe, cfg, given), cfg, given, run)).val
    return [path.name for path in split.paths(split.num_images)]


def test_what_is_typed_of_sides_comes_before_the_runs(cfg: DictConfig, tmp_path: Path) -> None:
    run = run_of(cfg, tmp_path / "run")
    own = [path.name for path in _validation_images(run)]
    folder(tmp_path / "my pictures", 14)
    assert judged(run) == judged(run, "data.batch_size=5") == own
    assert judged(run, f"data.root='{tmp_path / 'my pictures'}'") == own
    assert len(judged(run, "data.val_fraction=0.5")) == 7
    moved = shutil.copytree(tmp_path / "my pictures", tmp_path / "moved")
    assert len(judged(run, f"data.root='{moved}'")) == 14
    file = tmp_path / "run" / "division.json"
    assert judged(run, f"data.root='{moved}'", f"data.division='{file}'") == own


def test_a_file_without_its_folder_says_that_it_divides_anew(
    cfg: DictConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = run_of(cfg, tmp_path / "run")
    (tmp_path / "run/division.json").unlink()
    sides = as_in_run(run.recipe, run)
    assert "has no division.json in the folder of its run" in caplog.text
    assert build_data(sides).val.num_images == 3
    undivided = detbox.compose("data=folder")
    assert as_in_run(undivided, run) is undivided


def test_a_run_does_not_go_on_with_other_sides(cfg: DictConfig, tmp_path: Path) -> None:
    run = run_of(cfg, tmp_path / "run")
    for setting in ("data.val_fraction=0.5", "data.split_seed=1", "data.keep_alike=false"):
        other = cfg.copy()
        other.merge_with_dotlist([setting])
        with pytest.raises(CheckpointError, match=rf"{setting.split('=')[0]} .*learnt from"):
            check_resumable(run, plain(other), SPACE)
    assert check_resumable(run, plain(as_in_run(cfg, run)), SPACE) == []
