"""The best score: carried over in its folder, wherever that lies, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from detbox.engine.best import BestCheckpoint


def scored(best: ModelCheckpoint) -> ModelCheckpoint:
    """As after a validation with an AP of a half."""
    file = Path(str(best.dirpath)) / "best.ckpt"
    file.parent.mkdir()
    file.touch()
    best.best_model_path = best.kth_best_model_path = str(file)
    best.best_model_score = best.current_score = torch.tensor(0.5)
    best.best_k_models = {str(file): torch.tensor(0.5)}
    return best


@pytest.mark.parametrize("moved", [False, True])
def test_the_best_score_goes_on_in_its_folder(moved: bool, tmp_path: Path) -> None:
    folder, file = tmp_path / "run", tmp_path / "run" / "best.ckpt"
    state = scored(BestCheckpoint(folder)).state_dict()
    if moved:
        folder = folder.rename(tmp_path / "moved")
        file = folder / "best.ckpt"
    best = BestCheckpoint(folder)
    best.load_state_dict(state)
    assert best.best_model_score == torch.tensor(0.5)
    assert best.best_model_path == str(file)
    assert best.best_k_models == {str(file): 0.5}
    assert (best.kth_best_model_path, best.last_model_path) == (str(file), "")


def test_another_folder_counts_its_own(tmp_path: Path) -> None:
    best = BestCheckpoint(tmp_path / "other")
    best.load_state_dict(scored(BestCheckpoint(tmp_path / "run")).state_dict())
    assert (best.best_model_score, best.best_model_path) == (None, "")


def test_files_of_before_are_understood(tmp_path: Path) -> None:
    lightnings = ModelCheckpoint(tmp_path, "best", monitor="val/AP", mode="max")
    assert BestCheckpoint(tmp_path).state_key == lightnings.state_key
