"""Settings of the trainer reach Lightning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest

import detbox
from detbox.registry import TRAINERS


def test_norms_of_mpvits_recipe_see_all_gpus_and_others_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(pl, "Trainer", lambda **settings: given.update(settings))
    for experiment, synchronised in (("mpvit_small", True), ("r50", False)):
        cfg = detbox.compose(f"experiment=deformable_detr_{experiment}_50e")
        TRAINERS.build(cfg.trainer, tmp_path, [], [])
        assert given["sync_batchnorm"] is synchronised
