"""One projection per level, as Deformable DETR and its successors have it (sec. A.2)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from detbox.necks.checks import GROUPS, check_groups, check_levels, hint_at_pyramid
from detbox.ranges import Count
from detbox.registry import NECKS


class ChannelMapper(nn.Module):
    """1x1 convolutions on backbone maps, then 3x3 of stride 2 for coarser levels.

    The first coarser level reads the last backbone map itself, each further one the level before.
    """

    size_divisor = 1

    def __init__(
        self, channels: Sequence[int], strides: Sequence[int], hidden_dim: int, num_levels: int
    ) -> None:
        super().__init__()
        extra = num_levels - len(channels)
        self.channels = hidden_dim
        self.strides = (*strides, *(strides[-1] * 2 ** (i + 1) for i in range(extra)))
        self._num_maps = len(channels)
        self.projections = nn.ModuleList(
            [_projection(inputs, hidden_dim, stride=1) for inputs in channels]
            + [
                _projection(channels[-1] if i == 0 else hidden_dim, hidden_dim, stride=2)
                for i in range(extra)
            ]
        )

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Project backbone maps (B, C_i, h, w) to levels (B, C, h, w), fine to coarse."""
        count = self._num_maps
        levels = [project(x) for project, x in zip(self.projections[:count], maps, strict=True)]
        x = maps[-1]
        for project in self.projections[count:]:
            x = project(x)
            levels.append(x)
        return tuple(levels)


@NECKS.register("channel_mapper")
def channel_mapper(
    channels: Sequence[int],
    strides: Sequence[int],
    *,
    hidden_dim: Count = 256,
    num_levels: Count = 4,
) -> ChannelMapper:
    """Build the neck for backbone maps of these channels and strides.

    Args:
        channels: of the backbone maps, fine to coarse.
        strides: of the backbone maps, fine to coarse.
        hidden_dim: C, channels of every level; a multiple of 32.
        num_levels: L, backbone maps plus coarser ones made from the last.

    Raises:
        ValueError: fewer levels than maps, or `hidden_dim` does not divide into groups.
    """
    check_levels(num_levels, strides)
    check_groups(hidden_dim)
    if num_levels > 1:
        hint_at_pyramid("channel_mapper", strides, num_levels)
    return ChannelMapper(channels, strides, hidden_dim, num_levels)


def _projection(inputs: int, outputs: int, *, stride: int) -> nn.Sequential:
    kernel = 1 if stride == 1 else 3
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)
    nn.init.xavier_uniform_(convolution.weight)
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return nn.Sequential(convolution, nn.GroupNorm(GROUPS, outputs))
