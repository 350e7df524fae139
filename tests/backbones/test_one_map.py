"""Backbones of one map go with any model as typed: they choose the neck, and keep their stride."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from named import CONF, NAMED
from omegaconf import OmegaConf

import detbox
from detbox.structures import ImageBatch

SMALL = (
    *("neck.hidden_dim=32", "model.num_heads=4", "model.num_queries=8", "model.feedforward_dim=32"),
    *("model.encoder_layers=1", "model.decoder_layers=1"),
)
PYRAMID, MAPPER, PROJECTION = "simple_feature_pyramid", "channel_mapper", "projection"
ONE_MAP = sorted(path.stem for path in CONF.glob("one_map/*.yaml"))
A_VIT_OF_MINE = """\
defaults:
  - /schema/backbone/timm@_here_
  - _self_
  - override /neck@_global_.neck: simple_feature_pyramid
model: vit_tiny_patch16_224
strides: [16]
"""


@pytest.mark.parametrize(
    ("model", "backbone", "neck", "strides"),
    [
        ("dino", "vit_s_dinov2", PYRAMID, (7, 14, 28, 56)),
        ("dino", "vit_s_dinov3", PYRAMID, (8, 16, 32, 64)),
        ("dino", "resnet50_dc5", MAPPER, (16, 32, 64, 128)),
        ("dino_5scale", "vit_s_dinov2", PYRAMID, (7, 14, 28, 56, 112)),
        ("deformable_detr", "vit_s_dinov2", PYRAMID, (7, 14, 28, 56)),
        ("detr", "vit_s_dinov2", PROJECTION, (14,)),
        ("detr", "resnet50_dc5", PROJECTION, (16,)),
        ("conditional_detr", "resnet50_dc5", PROJECTION, (16,)),
        ("dab_detr", "resnet50_dc5", PROJECTION, (16,)),
    ],
)
@torch.no_grad()
def test_a_model_finds_boxes_on_its_levels_as_typed(
    model: str, backbone: str, neck: str, strides: tuple[int, ...]
) -> None:
    cfg = detbox.compose(f"model={model}", f"backbone={backbone}", *SMALL)
    assert cfg.neck.name == neck
    detector = detbox.build_detector(cfg, 3).eval()
    assert detector.neck.strides == strides
    images = ImageBatch(torch.zeros(1, 3, 65, 161), torch.zeros(1, 65, 161, dtype=torch.bool))
    assert detector(images).prediction.boxes.shape == (1, 8, 4)


@pytest.mark.parametrize("model", ["dino_5scale", "dn_detr"])
@pytest.mark.parametrize("backbone", ONE_MAP)
def test_the_order_of_typing_counts_for_nothing_and_the_stride_stays(
    model: str, backbone: str
) -> None:
    cfg = detbox.compose(f"model={model}", f"backbone={backbone}")
    assert cfg == detbox.compose(f"backbone={backbone}", f"model={model}")
    assert cfg.backbone.strides == strides_in(f"one_map/{backbone}")


@pytest.mark.parametrize("backbone", NAMED)
def test_a_named_backbone_has_its_one_stride_where_no_model_changes_it(backbone: str) -> None:
    assert len(strides_in(backbone)) != 1


@pytest.mark.parametrize(
    ("arguments", "neck"),
    [
        (("model=dino",), PYRAMID),
        (("model=detr",), PROJECTION),
        (("model=dino", "neck=fpn"), "fpn"),
        (("model=detr", "neck=simple_feature_pyramid", "neck.num_levels=1"), PYRAMID),
        (("experiment=dino_r50_12e",), PYRAMID),
        (("experiment=detr_r50_300e",), PROJECTION),
        (("experiment=of_mine",), MAPPER),
        (("experiment=of_mine", "neck=fpn"), "fpn"),
    ],
)
def test_typed_beats_experiment_beats_model_beats_backbone(
    arguments: tuple[str, ...], neck: str, tmp_path: Path
) -> None:
    option = folder_with("experiment/of_mine", "# @package _global_\n" + EXPERIMENT, tmp_path)
    assert detbox.compose(option, "backbone=vit_s_dinov2", *arguments).neck.name == neck


EXPERIMENT = "defaults:\n  - override /model: detr\n  - override /neck: channel_mapper\n"


def test_a_file_of_ones_own_chooses_a_neck_too(tmp_path: Path) -> None:
    option = folder_with("backbone/my_vit", A_VIT_OF_MINE, tmp_path)
    assert detbox.compose(option, "backbone=my_vit", "model=dino").neck.name == PYRAMID
    cfg = detbox.compose(option, "backbone=my_vit", "model=detr")
    with pytest.raises(ValueError, match=r"try backbone\.strides=\[16\]"), torch.device("meta"):
        detbox.build_detector(cfg, 3)
    folder_with("backbone/one_map/my_vit", "strides: [16]", tmp_path)
    assert detbox.compose(option, "backbone=my_vit", "model=detr").backbone.strides == [16]


def strides_in(file: str) -> list[int]:
    """What a file below conf/backbone says of strides, by itself."""
    content = OmegaConf.to_container(OmegaConf.load(CONF / f"{file}.yaml"))
    assert isinstance(content, dict)
    return list(content.get("strides", ()))


def folder_with(file: str, content: str, folder: Path) -> str:
    """The option that adds a folder of a user's own configuration with this file in it."""
    path = folder / f"{file}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return f"hydra.searchpath=[file://{folder}]"
