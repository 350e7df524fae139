"""Names of the authors' detectors."""

from __future__ import annotations

import torch

from detbox.registry import BACKBONES


def test_resnets_keep_the_body_prefix_of_the_official_detectors() -> None:
    with torch.device("meta"):
        names = BACKBONES.build({"name": "timm", "model": "resnet50"}).official_names()
    assert names["body.layer1.0.conv1.weight"] == ("body.layer1.0.conv1.weight",)


def test_a_shared_position_has_the_name_of_every_block_that_uses_it() -> None:
    with torch.device("meta"):
        names = BACKBONES.build({"name": "coat"}).official_names()
    assert names["stages.4.stack.position.conv.bias"] == (
        "backbone.cpe4.proj.bias",
        "backbone.serial_blocks4.0.cpe.proj.bias",
        "backbone.serial_blocks4.1.cpe.proj.bias",
        "backbone.serial_blocks4.2.cpe.proj.bias",
    )
