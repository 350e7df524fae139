"""The neck gives `num_levels` levels of one width."""

from __future__ import annotations

import pytest
import torch

from detbox.necks.channel_mapper import ChannelMapper
from detbox.registry import NECKS

CHANNELS, STRIDES = (16, 24, 40), (8, 16, 32)


def build(**settings: int) -> ChannelMapper:
    config = {"name": "channel_mapper", "hidden_dim": 32, **settings}
    return NECKS.build(config, CHANNELS, STRIDES)


def maps(height: int = 13, width: int = 18) -> list[torch.Tensor]:
    sizes = [(-(-height // 2**i), -(-width // 2**i)) for i in range(3)]
    return [torch.randn(2, c, *size) for c, size in zip(CHANNELS, sizes, strict=True)]


@pytest.mark.parametrize("num_levels", [3, 4, 6])
def test_levels_have_one_width_and_halve_rounding_up(num_levels: int) -> None:
    neck = build(num_levels=num_levels)
    levels = neck(maps())
    assert neck.channels == 32
    assert neck.strides == (8, 16, 32, 64, 128, 256)[:num_levels]
    assert [tuple(level.shape) for level in levels] == [
        (2, 32, -(-13 // 2**i), -(-18 // 2**i)) for i in range(num_levels)
    ]


def test_the_first_coarser_level_reads_the_raw_map_and_the_next_the_level_before() -> None:
    neck, inputs = build(num_levels=5), maps()
    levels = neck(inputs)
    torch.testing.assert_close(levels[3], neck.projections[3](inputs[-1]))
    torch.testing.assert_close(levels[4], neck.projections[4](levels[3]))


def test_weights_start_xavier_uniform_with_zero_bias() -> None:
    neck = build(num_levels=4)
    names = set(neck.state_dict())
    assert {"projections.0.0.weight", "projections.3.1.bias"} <= names
    for projection in neck.projections:
        convolution, norm = projection.children()
        fan = sum(convolution.weight.shape[:2]) * convolution.weight[0, 0].numel()
        assert convolution.weight.abs().max() <= (6 / fan) ** 0.5
        assert not convolution.bias.any()
        assert norm.num_groups == 32


def test_coarser_levels_of_one_map_come_with_a_hint(caplog: pytest.LogCaptureFixture) -> None:
    config = {"name": "channel_mapper", "hidden_dim": 32}
    NECKS.build({**config, "num_levels": 1}, (16,), (14,))
    NECKS.build({**config, "num_levels": 4}, CHANNELS, STRIDES)
    assert not caplog.records
    assert NECKS.build({**config, "num_levels": 4}, (16,), (14,)).strides == (14, 28, 56, 112)
    assert "neck=simple_feature_pyramid" in caplog.text


def test_every_parameter_gets_a_gradient() -> None:
    neck = build(num_levels=5)
    sum((level * torch.randn_like(level)).sum() for level in neck(maps())).backward()
    assert all(p.grad is not None and p.grad.any() for p in neck.parameters())


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"num_levels": 2}, r"neck\.num_levels=3 or backbone\.strides=\[16,32\]"),
        ({"num_levels": 1}, r"backbone\.strides=\[32\]"),
        ({"num_levels": 0}, "num_levels must be at least 1"),
        ({"hidden_dim": 100}, r"try neck\.hidden_dim=96"),
        ({"hidden_dim": 0}, "hidden_dim must be at least 1"),
    ],
)
def test_impossible_settings_are_named_with_the_way_out(
    settings: dict[str, int], hint: str
) -> None:
    with pytest.raises(ValueError, match=hint):
        build(**settings)
