"""Feature pyramid network: coarse maps lend their meaning to fine ones (Lin et al., CVPR 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from detbox.errors import SettingError
from detbox.necks.checks import GROUPS, check_groups, check_levels, hint_at_pyramid
from detbox.ranges import Count
from detbox.registry import NECKS


class FPN(nn.Module):
    """A top-down path over backbone maps (Lin et al., sec. 3).

    Each map is projected by a 1x1 convolution, gets the level above it doubled and added, and is
    smoothed by a 3x3 convolution. Levels coarser than the maps are every second row and column of
    the level before (sec. 4.1, footnote 2).
    """

    size_divisor = 1

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        hidden_dim: int,
        num_levels: int,
        group_norm: bool,
    ) -> None:
        super().__init__()
        self.num_extra = num_levels - len(channels)
        self.channels = hidden_dim
        self.strides = (*strides, *(strides[-1] * 2 ** (i + 1) for i in range(self.num_extra)))
        self.lateral = nn.ModuleList(
            _convolution(inputs, hidden_dim, 1, group_norm) for inputs in channels
        )
        self.output = nn.ModuleList(
            _convolution(hidden_dim, hidden_dim, 3, group_norm) for _ in channels
        )

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Backbone maps (B, C_i, h, w) to levels (B, C, h, w), fine to coarse."""
        merged = [project(x) for project, x in zip(self.lateral, maps, strict=True)]
        for level in range(len(merged) - 2, -1, -1):
            merged[level] = merged[level] + doubled(merged[level + 1], merged[level])
        levels = [smooth(x) for smooth, x in zip(self.output, merged, strict=True)]
        for _ in range(self.num_extra):
            levels.append(levels[-1][:, :, ::2, ::2])
        return tuple(levels)


@NECKS.register("fpn")
def fpn(
    channels: Sequence[int],
    strides: Sequence[int],
    *,
    hidden_dim: Count = 256,
    num_levels: Count = 4,
    group_norm: bool = True,
) -> FPN:
    """Build the neck for backbone maps of these channels and strides.

    Args:
        channels: of the backbone maps, fine to coarse.
        strides: of the backbone maps, each twice the one before.
        hidden_dim: C, channels of every level; with `group_norm` a multiple of 32.
        num_levels: L, backbone maps plus coarser ones.
        group_norm: after every convolution (Wu & He, ECCV 2018); the paper has no norm.

    Raises:
        ValueError: strides that do not double, fewer levels than maps, or a width that does not
            divide into groups.
    """
    check_strides("fpn", strides)
    check_levels(num_levels, strides)
    if group_norm:
        check_groups(hidden_dim, " or neck.group_norm=false")
    hint_at_pyramid("fpn", strides, num_levels)
    return FPN(channels, strides, hidden_dim, num_levels, group_norm)


def doubled(coarse: Tensor, fine: Tensor) -> Tensor:
    """A map (B, C, h, w) at the size of the next finer one: cell i is cell i // 2.

    What the coarse map has too much is cut off; what it lacks, where its backbone dropped
    incomplete cells, repeats its border.
    """
    height, width = fine.shape[-2:]
    coarse = F.interpolate(coarse, scale_factor=2.0, mode="nearest")[..., :height, :width]
    bottom, right = height - coarse.shape[-2], width - coarse.shape[-1]
    return F.pad(coarse, (0, right, 0, bottom), "replicate") if bottom or right else coarse


def check_strides(neck: str, strides: Sequence[int]) -> None:
    """Refuse backbone maps whose sizes a pyramid cannot join.

    Raises:
        ValueError: a stride is not twice the one before.
    """
    if any(coarse != 2 * fine for fine, coarse in pairwise(strides)):
        raise SettingError(
            f"neck={neck} joins maps whose strides double, got {list(strides)}; choose other "
            "backbone.strides or neck=channel_mapper"
        )


def _convolution(inputs: int, outputs: int, kernel: int, group_norm: bool) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=not group_norm)
    nn.init.kaiming_uniform_(convolution.weight, a=1)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    norm = [nn.GroupNorm(GROUPS, outputs)] if group_norm else []
    return nn.Sequential(convolution, *norm)
