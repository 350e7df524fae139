"""One projection of the last backbone map, for models that read a single level."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from detbox.necks.checks import check_quarters
from detbox.ranges import Count
from detbox.registry import NECKS


class Projection(nn.Module):
    """A 1x1 convolution on the last backbone map, without a norm (DETR, sec. 3.2)."""

    size_divisor = 1

    def __init__(self, channels: Sequence[int], strides: Sequence[int], hidden_dim: int) -> None:
        super().__init__()
        self.channels = hidden_dim
        self.strides = (strides[-1],)
        self.projection = nn.Conv2d(channels[-1], hidden_dim, 1)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Backbone maps (B, C_i, h, w) -> one level (B, C, h, w)."""
        return (self.projection(maps[-1]),)


@NECKS.register("projection")
def projection(
    channels: Sequence[int], strides: Sequence[int], *, hidden_dim: Count = 256
) -> Projection:
    """Build the neck for backbone maps of these channels and strides.

    Args:
        channels: of the backbone maps, fine to coarse; the last one is read.
        strides: of the backbone maps, fine to coarse.
        hidden_dim: C, channels of the level; a multiple of 4 for the encoding of places.

    Raises:
        ValueError: `hidden_dim` does not fit.
    """
    check_quarters(hidden_dim)
    return Projection(channels, strides, hidden_dim)
