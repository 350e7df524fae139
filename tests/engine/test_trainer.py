"""Settings of the trainer reach Lightning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

import detbox
from detbox.engine.ema import ExponentialAverage
from detbox.engine.sharding import blocks
from detbox.errors import SettingError
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


@pytest.mark.parametrize(
    ("accelerator", "cuda", "bf16", "precision"),
    [
        ("auto", True, True, "bf16-mixed"),
        ("gpu", True, True, "bf16-mixed"),
        ("cuda", True, False, "32-true"),
        ("auto", False, True, "32-true"),
        ("cpu", True, True, "32-true"),
    ],
)
def test_half_precision_is_the_default_where_a_gpu_computes_in_it(
    accelerator: str,
    cuda: bool,
    bf16: bool,
    precision: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(pl, "Trainer", lambda **settings: given.update(settings))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    chosen = detbox.compose(f"trainer.accelerator={accelerator}").trainer
    TRAINERS.build(chosen, tmp_path, [], [])
    assert given["precision"] == precision
    TRAINERS.build({**chosen, "precision": "16-mixed"}, tmp_path, [], [])
    assert given["precision"] == "16-mixed"


def test_figures_of_an_evaluation_alone_are_in_float32() -> None:
    cfg = detbox.compose("ckpt=FILE", config_name="evaluate")
    assert cfg.trainer.precision == "32-true"


def test_an_average_of_shares_is_refused(tmp_path: Path) -> None:
    cfg = detbox.compose("trainer.strategy=fsdp")
    with pytest.raises(SettingError, match=r"callbacks\.ema averages whole .*strategy=ddp"):
        TRAINERS.build(cfg.trainer, tmp_path, [], [ExponentialAverage(0.9)])


def test_blocks_are_shared_out_one_by_one() -> None:
    detector = detbox.build_detector(detbox.compose("backbone=swin_t", "model.num_queries=8"), 3)
    found = [type(each).__name__ for each in blocks(detector)]
    assert found.count("PaddedSwinBlock") == 12
    assert found.count("DeformableEncoderLayer") == found.count("DeformableDecoderLayer") == 6
    seen = {id(each) for block in blocks(detector) for each in block.parameters()}
    rest = sum(each.numel() for each in detector.parameters() if id(each) not in seen)
    assert rest < 0.1 * sum(each.numel() for each in detector.parameters())
