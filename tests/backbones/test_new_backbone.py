"""What a new backbone costs: one YAML for any of timm's, nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra.errors import HydraException

import detbox
from detbox.structures import ImageBatch

SMALL = (
    *("neck.hidden_dim=32", "model.num_heads=4", "model.num_queries=8", "model.feedforward_dim=32"),
    *("model.encoder_layers=1", "model.decoder_layers=1", "backbone.pretrained=false"),
)
YAML = """\
defaults:
  - /schema/backbone/timm@_here_
  - _self_
model: mobilenetv3_small_050.lamb_in1k
frozen_norm: true
"""


@pytest.fixture
def searchpath(tmp_path: Path) -> str:
    """A folder of a user's own configuration, with one file in it."""
    file = tmp_path / "backbone" / "mobilenet.yaml"
    file.parent.mkdir()
    file.write_text(YAML, encoding="utf-8")
    return f"hydra.searchpath=[file://{tmp_path}]"


def test_one_yaml_is_a_new_backbone(searchpath: str) -> None:
    cfg = detbox.compose(searchpath, "model=dino", "backbone=mobilenet", *SMALL)
    detector = detbox.build_detector(cfg, num_classes=4).eval()
    assert detector.backbone.strides == (8, 16, 32)
    images = ImageBatch(torch.zeros(1, 3, 65, 97), torch.zeros(1, 65, 97, dtype=torch.bool))
    assert detector(images).prediction.boxes.shape == (1, 8, 4)


def test_its_keys_are_checked_as_those_of_any_other(searchpath: str) -> None:
    with pytest.raises(HydraException):
        detbox.compose(searchpath, "backbone=mobilenet", "backbone.frozen_norms=true")
