"""Groups of parameters: learning rates, weight decays, and patterns that are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.layers import LayerNorm2d
from torch import nn
from training_toys import grouped_network as network

import detbox
from detbox.engine.groups import WeightDecay, parameter_groups
from detbox.engine.optimization import adamw
from detbox.registry import OPTIMIZERS

FACTORS = {r"^backbone\.": 0.1, "sampling_offsets": 0.5, "bias": 0.2}


def names_by_rate(groups: list[dict[str, Any]]) -> dict[float, set[str]]:
    return {group["lr"]: set(group["parameter_names"]) for group in groups}


@pytest.mark.parametrize("factors", [{}, FACTORS, {".": 2.0}, {"nowhere": 0.1}])
def test_every_trainable_parameter_is_in_one_group_and_frozen_ones_in_none(
    factors: dict[str, float],
) -> None:
    module = network()
    groups = parameter_groups(module, 1e-4, factors)
    chosen = [id(parameter) for group in groups for parameter in group["params"]]
    expected = [id(parameter) for parameter in module.parameters() if parameter.requires_grad]
    assert sorted(chosen) == sorted(expected)
    assert all(group["params"] for group in groups)


def test_names_stand_beside_their_parameters() -> None:
    module = network()
    by_name = dict(module.named_parameters())
    for group in parameter_groups(module, 1e-4, FACTORS):
        for name, parameter in zip(group["parameter_names"], group["params"], strict=True):
            assert by_name[name] is parameter


def test_the_first_pattern_that_is_found_sets_the_rate() -> None:
    assert names_by_rate(parameter_groups(network(), 1.0, FACTORS)) == {
        0.1: {"backbone.stage.weight", "backbone.stage.bias"},
        0.5: {"encoder.sampling_offsets.weight", "encoder.sampling_offsets.bias"},
        0.2: {"encoder.norm.bias", "first.bias"},
        1.0: {"encoder.norm.weight", "first.weight"},
    }


def test_groups_have_names_that_a_dashboard_can_show() -> None:
    names = {group["name"] for group in parameter_groups(network(), 1.0, FACTORS)}
    assert names == {"base", "backbone", "sampling_offsets", "bias"}


def decays(module: nn.Module, decay: WeightDecay) -> dict[str, float]:
    groups = parameter_groups(module, 1.0, FACTORS, decay=decay)
    return {name: group["weight_decay"] for group in groups for name in group["parameter_names"]}


def test_no_decay_on_norms_leaves_all_else_alone() -> None:
    found = decays(network(), WeightDecay(0.1, norms=False))
    norm = {"encoder.norm.weight", "encoder.norm.bias"}
    assert found == {name: 0.0 if name in norm else 0.1 for name in found}
    assert norm < set(found)


@pytest.mark.parametrize("norm", [LayerNorm2d(2), nn.BatchNorm2d(2), nn.GroupNorm(1, 2)], ids=repr)
def test_every_kind_of_norm_is_one(norm: nn.Module) -> None:
    module = nn.ModuleDict({"a": norm, "normal": nn.Linear(2, 2)})
    found = decays(module, WeightDecay(0.1, norms=False))
    assert found == {"a.weight": 0, "a.bias": 0, "normal.weight": 0.1, "normal.bias": 0.1}


def test_no_decay_on_biases_knows_those_of_attention() -> None:
    norm = nn.LayerNorm(4)
    module = nn.ModuleDict({"attention": nn.MultiheadAttention(4, 2), "norm": norm})
    module["attention"].register_parameter("position_bias_table", nn.Parameter(norm.bias))
    found = decays(module, WeightDecay(0.1, biases=False))
    assert {name for name, decay in found.items() if not decay} == {
        *("attention.in_proj_bias", "attention.out_proj.bias", "norm.bias")
    }


def test_the_first_pattern_that_is_found_sets_the_decay() -> None:
    found = decays(network(), WeightDecay(0.1, {r"^backbone\.": 0.05, "weight": 0.2}))
    assert {found[f"backbone.stage.{part}"] for part in ("weight", "bias")} == {0.05}
    assert (found["first.weight"], found["first.bias"]) == (0.2, 0.1)


def test_no_decay_on_norms_goes_before_a_pattern() -> None:
    assert decays(network(), WeightDecay(0.1, {"encoder": 0.5}, norms=False)) == {
        **dict.fromkeys(("backbone.stage.weight", "backbone.stage.bias"), 0.1),
        **dict.fromkeys(("encoder.norm.weight", "encoder.norm.bias"), 0.0),
        "encoder.sampling_offsets.weight": 0.5,
        "encoder.sampling_offsets.bias": 0.5,
        **dict.fromkeys(("first.weight", "first.bias"), 0.1),
    }


def test_a_rate_with_two_decays_is_two_groups_with_a_name_each() -> None:
    groups = parameter_groups(
        network(), 1.0, {"backbone": 0.1}, decay=WeightDecay(0.1, norms=False)
    )
    assert [(group["name"], group["lr"], group["weight_decay"]) for group in groups] == [
        ("base", 1.0, 0.1),
        ("backbone", 0.1, 0.1),
        ("base_decay_0", 1.0, 0.0),
    ]


RT_DETR = ("optimizer.decay_norms=false", "optimizer.decay_biases=false")
"""Zhao et al., CVPR 2024, official configuration"""
VITDET = (
    *("backbone=vit_s_dinov2", "optimizer.lr_factors.backbone=1", "optimizer.weight_decay=0.1"),
    *("optimizer.layer_decay=0.7", "optimizer.decay_norms=false"),
    "+optimizer.weight_decays.pos_embed=0",
)
"""Li et al., ECCV 2022, official configuration"""


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (RT_DETR, {"self_norm.bias": 0, "value_proj.bias": 0, "value_proj.weight": 1e-4}),
        (VITDET, {"self_norm.bias": 0, "value_proj.bias": 0.1, "pos_embed": 0, "qkv.weight": 0.1}),
    ],
    ids=["rt_detr", "vitdet"],
)
def test_other_papers_recipes_can_be_written(
    recipe: tuple[str, ...], expected: dict[str, float]
) -> None:
    cfg = detbox.compose(*recipe)
    with torch.device("meta"):
        detector = detbox.build_detector(cfg, 80)
    groups = OPTIMIZERS.build(cfg.optimizer, detector).param_groups
    assert len({group["name"] for group in groups}) == len(groups)
    for part, decay in expected.items():
        found = {
            group["weight_decay"]
            for group in groups
            for name in group["parameter_names"]
            if name.endswith(part)
        }
        assert found == {decay}, part


def test_a_pattern_that_hits_no_parameter_is_refused() -> None:
    with pytest.raises(ValueError, match="'bakbone' is found in no parameter's name"):
        adamw(nn.Linear(2, 2), lr_factors={"bakbone": 0.1})


def test_factors_come_from_the_command_line_beside_the_backbones() -> None:
    given = ("optimizer.lr_factors.backbone=1", "+optimizer.lr_factors.bias=0.5")
    optimizer = OPTIMIZERS.build(detbox.compose(*given).optimizer, network())
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates == pytest.approx({"base": 1e-4, "backbone": 1e-4, "bias": 5e-5})


def test_a_pattern_of_a_decay_that_hits_no_parameter_is_refused() -> None:
    with pytest.raises(ValueError, match=r"weight_decays: 'nrom' is found in no parameter's name"):
        adamw(nn.Linear(2, 2), weight_decays={"nrom": 0.0})


def test_a_negative_factor_is_refused() -> None:
    with pytest.raises(ValueError, match=r"backbone=-1\.0 is negative"):
        adamw(network(), lr_factors={"backbone": -1.0})
