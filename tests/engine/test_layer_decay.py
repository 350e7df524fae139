"""Blocks of a backbone learn the more slowly the earlier they come."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import detbox
from detbox.errors import SettingError
from detbox.registry import BACKBONES, OPTIMIZERS

BLOCKS = {
    **{"vit_s_dinov2": 12, "eva02_l": 24, "swin_t": 12, "swinv2_t": 12, "convnext_t": 18},
    **{"resnet50": 16, "tf_efficientnet_lite0": 16, "pvt_v2_b2": 4},
}
"""layers as timm tells them apart: blocks, and stages in PVT"""


def network(name: str, *options: str) -> nn.Module:
    """A named backbone and a neck, without memory."""
    cfg = detbox.compose(f"backbone={name}", *options).backbone
    with torch.device("meta"):
        return nn.ModuleDict({"backbone": BACKBONES.build(cfg), "neck": nn.Linear(2, 2)})


def rates(module: nn.Module, **settings: float) -> dict[str, float]:
    """Learning rate by name of parameter."""
    optimizer = OPTIMIZERS.build({"name": "adamw", "lr": 1.0, **settings}, module)
    return {
        name: group["lr"] for group in optimizer.param_groups for name in group["parameter_names"]
    }


@pytest.mark.parametrize("name", BLOCKS)
def test_rates_fall_by_the_same_factor_from_block_to_block(name: str) -> None:
    found = rates(network(name, "backbone.frozen_stages=0"), layer_decay=0.8)
    body = {rate for name, rate in found.items() if name.startswith("backbone.body.")}
    *falling, stem = sorted(body, reverse=True)
    assert falling == pytest.approx([0.1 * 0.8**depth for depth in range(1, BLOCKS[name] + 1)])
    assert stem == min(found.values()) == pytest.approx(0.1 * 0.8 ** (BLOCKS[name] + 1))
    assert found["neck.weight"] == 1


def test_every_block_has_a_rate_of_its_own() -> None:
    for name in ("vit_s_dinov2", "swin_t", "swinv2_t", "convnext_t"):
        found = rates(network(name), layer_decay=0.8)
        falling = {rate for each, rate in found.items() if ".blocks." in each}
        assert sorted(falling, reverse=True) == pytest.approx(
            [0.1 * 0.8**depth for depth in range(1, BLOCKS[name] + 1)]
        )


def test_a_block_of_a_resnet_learns_as_one() -> None:
    found = rates(network("resnet50", "backbone.frozen_stages=0"), layer_decay=0.5)
    block = {rate for name, rate in found.items() if name.startswith("backbone.body.layer4.1.")}
    assert list(block) == pytest.approx([0.1 * 0.5**2])
    assert found["backbone.body.conv1.weight"] == pytest.approx(0.1 * 0.5**17)


def test_tokens_positions_and_patches_are_at_the_very_bottom() -> None:
    found = rates(network("vit_s_dinov2"), layer_decay=0.5)
    bottom = {name for name, rate in found.items() if rate == pytest.approx(0.1 * 0.5**13)}
    parts = ("cls_token", "reg_token", "pos_embed", "patch_embed.proj.weight")
    assert {f"backbone.body.model.{part}" for part in parts} < bottom
    assert len(bottom) == 5


def test_what_merges_patches_learns_as_the_block_that_it_feeds() -> None:
    found = rates(network("swin_t"), layer_decay=0.8)
    merging = found["backbone.body.layers_2.downsample.reduction.weight"]
    assert merging == found["backbone.body.layers_2.blocks.0.attn.qkv.weight"]


def test_output_norms_learn_at_the_backbones_full_rate() -> None:
    found = rates(network("convnext_t"), layer_decay=0.8)
    assert found["backbone.norms.3.weight"] == pytest.approx(0.1)


def test_one_means_no_decay_and_the_groups_stay_as_they_were() -> None:
    assert rates(network("swin_t"), layer_decay=1.0) == rates(network("swin_t"))
    assert set(rates(network("swin_t")).values()) == {0.1, 1.0}


def test_every_trainable_parameter_is_in_one_group_and_frozen_ones_in_none() -> None:
    module = network("convnext_t", "backbone.frozen_stages=1")
    expected = {name for name, each in module.named_parameters() if each.requires_grad}
    assert set(rates(module, layer_decay=0.7)) == expected


def test_groups_have_names_of_their_own() -> None:
    settings = {"name": "adamw", "layer_decay": 0.8}
    groups = OPTIMIZERS.build(settings, network("swin_t")).param_groups
    names = [group["name"] for group in groups]
    assert len(names) == len(set(names)) == 15
    assert {"base", "backbone", "backbone_1", "backbone_13"} <= set(names)


@pytest.mark.parametrize("name", ["mpvit_tiny", "coat_tiny", "bit_r50"])
def test_a_backbone_that_is_not_timms_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"layers timm tells apart.*try optimizer\.layer_decay=1"):
        rates(network(name), layer_decay=0.8)


def test_a_family_whose_layers_timm_does_not_tell_is_refused() -> None:
    module = network("timm", "backbone.model=poolformer_s12")
    with pytest.raises(SettingError, match=r"got backbone\.model=poolformer_s12; try"):
        rates(module, layer_decay=0.8)


@pytest.mark.parametrize("decay", [0.0, -0.5, 1.1])
def test_a_decay_that_is_none_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=r"optimizer.layer_decay must be above 0 to 1, got"):
        rates(nn.ModuleDict({"backbone": nn.Linear(2, 2)}), layer_decay=decay)
