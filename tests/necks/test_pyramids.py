"""Necks that join maps: sizes at odd images, gradients everywhere, and the same as peers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from detbox.necks.fpn import doubled
from detbox.registry import NECKS

CHANNELS, STRIDES = (16, 24, 40), (8, 16, 32)
IMAGES = [(64, 96), (203, 317), (97, 130)]


def build(name: str, channels: tuple[int, ...] = CHANNELS, **settings: Any) -> Any:
    config = {"name": name, "hidden_dim": 32, **settings}
    return NECKS.build(config, channels, STRIDES if len(channels) > 1 else (16,))


Rounding = Callable[[int, int], int]


def rounded_up(side: int, stride: int) -> int:
    return -(-side // stride)


def rounded_down(side: int, stride: int) -> int:
    return side // stride


def maps(size: tuple[int, int], rounded: Rounding = rounded_up) -> list[Tensor]:
    """Backbone maps of an image of this size."""
    sizes = [(rounded(size[0], stride), rounded(size[1], stride)) for stride in STRIDES]
    return [torch.randn(2, c, *each) for c, each in zip(CHANNELS, sizes, strict=True)]


def assert_everything_learns(neck: nn.Module, inputs: list[Tensor]) -> None:
    """Every parameter has a gradient that is not zero throughout."""
    sum((level * torch.randn_like(level)).sum() for level in neck(inputs)).backward()
    for name, parameter in neck.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("size", IMAGES)
@pytest.mark.parametrize("rounded", [rounded_up, rounded_down])
@pytest.mark.parametrize("name", ["fpn", "hybrid_encoder"])
def test_levels_have_the_sizes_of_the_maps(
    name: str, rounded: Rounding, size: tuple[int, int]
) -> None:
    neck, inputs = build(name), maps(size, rounded)
    levels = neck(inputs)
    assert neck.channels == 32
    assert neck.strides[:3] == STRIDES
    for level, given in zip(levels, inputs, strict=False):
        assert level.shape == (2, 32, *given.shape[-2:])
    assert len(levels) == len(neck.strides)


def test_coarser_levels_halve_rounding_up() -> None:
    neck = build("fpn", num_levels=5)
    levels = neck(maps((203, 317)))
    assert neck.strides == (8, 16, 32, 64, 128)
    assert [tuple(level.shape[-2:]) for level in levels[2:]] == [(7, 10), (4, 5), (2, 3)]


@pytest.mark.parametrize(
    ("name", "settings"),
    [("fpn", {}), ("fpn", {"group_norm": False}), ("hybrid_encoder", {})],
)
def test_every_parameter_gets_a_gradient(name: str, settings: dict[str, Any]) -> None:
    assert_everything_learns(build(name, **settings), maps((97, 130)))


def test_the_coarsest_map_reaches_every_level_and_the_finest_only_those_that_a_path_leads_to() -> (
    None
):
    for name, upwards in (("fpn", False), ("hybrid_encoder", True)):
        neck, inputs = build(name).eval(), maps((64, 96))
        for each in inputs:
            each.requires_grad_()
        first, *_, last = neck(inputs)[:3]
        assert torch.autograd.grad(first.sum(), inputs[-1], retain_graph=True)[0].any()
        (fine,) = torch.autograd.grad(last.square().sum(), inputs[0], allow_unused=True)
        assert (fine is not None) == upwards


@torch.no_grad()
@pytest.mark.parametrize("size", IMAGES)
def test_without_norms_it_is_torchvisions(size: tuple[int, int]) -> None:
    ours = build("fpn", num_levels=4, group_norm=False)
    theirs = FeaturePyramidNetwork(list(CHANNELS), 32, LastLevelMaxPool())
    ours_named, theirs_named = list(ours.parameters()), list(theirs.parameters())
    for own, other in zip(ours_named, theirs_named, strict=True):
        other.copy_(own.normal_(0, 0.1))
    inputs = maps(size)
    expected = theirs(OrderedDict((str(i), x) for i, x in enumerate(inputs)))
    for level, other in zip(ours(inputs), expected.values(), strict=True):
        torch.testing.assert_close(level, other)


@pytest.mark.parametrize(("fine", "coarse"), [(8, 4), (7, 4), (9, 4)])
def test_a_doubled_map_lies_where_the_coarse_one_lay(fine: int, coarse: int) -> None:
    row = torch.arange(coarse, dtype=torch.float32).view(1, 1, 1, coarse)
    place = doubled(row, torch.empty(1, 1, 2, fine))[0, 0, 0]
    assert place.tolist() == [min(cell // 2, coarse - 1) for cell in range(fine)]


@pytest.mark.parametrize("finest", [1, 2, 4])
@pytest.mark.parametrize("size", [(4, 6), (13, 20), (7, 9)])
def test_one_map_becomes_a_pyramid(finest: int, size: tuple[int, int]) -> None:
    neck = build("simple_feature_pyramid", (24,), finest=finest, num_levels=5)
    levels = neck([torch.randn(2, 24, *size)])
    assert neck.channels == 32
    assert neck.strides == tuple(16 // finest * 2**level for level in range(5))
    for level, stride in zip(levels, neck.strides, strict=True):
        cells = tuple(rounded_up(side * 16, stride) for side in size)
        assert level.shape == (2, 32, *cells)


@pytest.mark.parametrize("finest", [1, 2, 4])
def test_every_parameter_of_a_simple_pyramid_gets_a_gradient(finest: int) -> None:
    neck = build("simple_feature_pyramid", (24,), finest=finest)
    assert_everything_learns(neck, [torch.randn(2, 24, 7, 9)])


def layer_norm(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Over the channels of a map, written out."""
    centred = features - features.mean(1, keepdim=True)
    scale = (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
    return centred / scale * weight[:, None, None] + bias[:, None, None]


def vitdets_level(features: Tensor, scale: float, weights: Iterator[Tensor]) -> Tensor:
    """One level of ViTDet (Li et al., ECCV 2022, sec. 3), on weights in the order of use."""
    if scale == 4:
        features = F.conv_transpose2d(features, next(weights), next(weights), stride=2)
        features = F.gelu(layer_norm(features, next(weights), next(weights)))
    if scale in (2, 4):
        features = F.conv_transpose2d(features, next(weights), next(weights), stride=2)
    if scale == 0.5:
        features = F.max_pool2d(features, 2, 2)
    features = layer_norm(F.conv2d(features, next(weights)), next(weights), next(weights))
    features = F.conv2d(features, next(weights), padding=1)
    return layer_norm(features, next(weights), next(weights))


@torch.no_grad()
def test_a_simple_pyramid_is_vitdets() -> None:
    torch.manual_seed(0)
    neck = build("simple_feature_pyramid", (24,), finest=4).double()
    for parameter in neck.parameters():
        parameter.normal_(0, 0.3)
    features = torch.randn(2, 24, 4, 6, dtype=torch.float64)
    for index, (level, scale) in enumerate(zip(neck([features]), (4, 2, 1, 0.5), strict=True)):
        weights = iter(neck.levels[index].state_dict().values())
        torch.testing.assert_close(level, vitdets_level(features, scale, weights))
        assert next(weights, None) is None


@torch.no_grad()
def test_levels_of_a_simple_pyramid_know_nothing_of_each_other() -> None:
    neck = build("simple_feature_pyramid", (24,), finest=4)
    features = [torch.randn(1, 24, 5, 6)]
    before = neck(features)
    neck.levels[1][0].weight.zero_()
    unchanged = [torch.equal(a, b) for a, b in zip(before, neck(features), strict=True)]
    assert unchanged == [True, False, True, True]


@torch.no_grad()
def test_attention_is_on_the_coarsest_map_only_and_knows_places() -> None:
    neck = build("hybrid_encoder").eval()
    features = torch.randn(1, 32, 3, 4)
    turned = neck.aifi(features.flip(-1)).flip(-1)
    assert not torch.allclose(neck.aifi(features), turned, atol=1e-3)
    assert not any("attention" in name for name in dict(neck.named_modules()) if "aifi" not in name)


@pytest.mark.parametrize(
    ("name", "strides", "settings", "hint"),
    [
        ("fpn", (8, 32), {}, r"strides double, got \[8, 32\].*neck=channel_mapper"),
        ("hybrid_encoder", (8, 16, 64), {}, "strides double"),
        ("fpn", (8, 16), {"num_levels": 1}, r"try neck\.num_levels=2"),
        ("fpn", (8, 16), {"hidden_dim": 40}, r"neck\.hidden_dim=32 or neck\.group_norm=false"),
        ("hybrid_encoder", (8, 16), {"hidden_dim": 30}, r"try neck\.hidden_dim=256"),
        ("hybrid_encoder", (8, 16), {"num_heads": 5}, r"neck\.num_heads=5"),
        ("simple_feature_pyramid", (8, 16), {}, r"try neck=fpn or backbone\.strides=\[16\]"),
        ("simple_feature_pyramid", (14,), {"finest": 4}, r"try neck\.finest=2"),
        ("simple_feature_pyramid", (16,), {"finest": 3}, r"try neck\.finest=4"),
        ("simple_feature_pyramid", (16,), {"num_levels": 0}, "at least 1"),
    ],
)
def test_impossible_settings_are_named_with_the_way_out(
    name: str, strides: tuple[int, ...], settings: dict[str, int], hint: str
) -> None:
    with pytest.raises(ValueError, match=hint):
        NECKS.build({"name": name, **settings}, CHANNELS[: len(strides)], strides)
