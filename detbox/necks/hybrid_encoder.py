"""RT-DETR's efficient hybrid encoder as a neck (Zhao et al., CVPR 2024, sec. 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detbox.errors import SettingError
from detbox.layers.attention import Attention
from detbox.layers.mlp import FeedForward
from detbox.necks.checks import hint_at_pyramid
from detbox.necks.fpn import check_strides, doubled
from detbox.ranges import Count, ShareBelowOne
from detbox.registry import NECKS

TEMPERATURE = 10000.0
NUM_BLOCKS = 3
"""RepBlocks in a fusion"""


class HybridEncoder(nn.Module):
    """Attention within the coarsest map (AIFI), convolutions across maps (CCFF).

    Maps are projected to one width; a top-down path fuses each with the coarser one doubled, a
    bottom-up path with the finer one halved. RT-DETR feeds pictures of one size: attention here
    sees the padding of smaller images in a batch.
    """

    size_divisor = 1

    def __init__(
        self, channels: Sequence[int], strides: Sequence[int], hidden_dim: int, aifi: nn.Module
    ) -> None:
        super().__init__()
        self.channels = hidden_dim
        self.strides = tuple(strides)
        steps = range(len(channels) - 1)
        self.projections = nn.ModuleList(
            ConvNormSiLU(inputs, hidden_dim, 1, active=False) for inputs in channels
        )
        self.aifi = aifi
        self.lateral = nn.ModuleList(ConvNormSiLU(hidden_dim, hidden_dim, 1) for _ in steps)
        self.top_down = nn.ModuleList(Fusion(hidden_dim) for _ in steps)
        self.halved = nn.ModuleList(
            ConvNormSiLU(hidden_dim, hidden_dim, 3, stride=2) for _ in steps
        )
        self.bottom_up = nn.ModuleList(Fusion(hidden_dim) for _ in steps)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Backbone maps (B, C_i, h, w) to levels (B, C, h, w) of the same sizes."""
        levels = [project(x) for project, x in zip(self.projections, maps, strict=True)]
        levels[-1] = self.aifi(levels[-1])
        for level in range(len(levels) - 2, -1, -1):
            levels[level + 1] = self.lateral[level](levels[level + 1])
            coarse = doubled(levels[level + 1], levels[level])
            levels[level] = self.top_down[level](torch.cat((coarse, levels[level]), 1))
        for level in range(len(levels) - 1):
            height, width = levels[level + 1].shape[-2:]
            # A backbone that drops incomplete cells has one less than half of an odd number.
            fine = self.halved[level](levels[level])[..., :height, :width]
            levels[level + 1] = self.bottom_up[level](torch.cat((fine, levels[level + 1]), 1))
        return tuple(levels)


class AIFI(nn.Module):
    """One transformer encoder layer on the cells of a map (Zhao et al., eq. 3)."""

    def __init__(
        self, hidden_dim: int, num_heads: int, feedforward_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.attention = Attention(hidden_dim, num_heads, dropout)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(hidden_dim)
        self.feed_forward = FeedForward(hidden_dim, feedforward_dim, dropout, nn.GELU())

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        tokens = features.flatten(2).transpose(1, 2)  # (B, S, C)
        placed = tokens + grid_position(features)
        tokens = self.norm(tokens + self.dropout(self.attention(placed, placed, tokens)))
        tokens = self.feed_forward(tokens).transpose(1, 2)  # (B, C, S)
        return torch.unflatten(tokens, 2, features.shape[-2:])


class ConvNormSiLU(nn.Sequential):
    """Convolution and batch norm, followed by SiLU unless it is not `active`."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, active: bool = True
    ) -> None:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        super().__init__(
            convolution, nn.BatchNorm2d(outputs), nn.SiLU() if active else nn.Identity()
        )


class RepBlock(nn.Module):
    """A 3x3 and a 1x1 convolution side by side (RepVGG; Ding et al., CVPR 2021, sec. 3.2)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.wide = ConvNormSiLU(dim, dim, 3, active=False)
        self.narrow = ConvNormSiLU(dim, dim, 1, active=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        return F.silu(self.wide(features) + self.narrow(features))


class Fusion(nn.Module):
    """Two maps, concatenated, become one (Zhao et al., fig. 4, right)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.deep = nn.Sequential(
            ConvNormSiLU(2 * dim, dim, 1), *(RepBlock(dim) for _ in range(NUM_BLOCKS))
        )
        self.shallow = ConvNormSiLU(2 * dim, dim, 1)

    def forward(self, both: Tensor) -> Tensor:
        """(B, 2C, h, w) to (B, C, h, w)."""
        output: Tensor = self.deep(both) + self.shallow(both)
        return output


@NECKS.register("hybrid_encoder")
def hybrid_encoder(
    channels: Sequence[int],
    strides: Sequence[int],
    *,
    hidden_dim: Count = 256,
    num_heads: Count = 8,
    feedforward_dim: Count = 1024,
    dropout: ShareBelowOne = 0.0,
) -> HybridEncoder:
    """Build the neck for backbone maps of these channels and strides; one level for each.

    Args:
        channels: of the backbone maps, fine to coarse.
        strides: of the backbone maps, each twice the one before.
        hidden_dim: C, channels of every level; a multiple of 4 and of `num_heads`.
        num_heads: of the attention.
        feedforward_dim: channels within the attention's feed-forward block.
        dropout: of attention weights and of updates.

    Raises:
        ValueError: strides that do not double, or a width that does not divide.
    """
    check_strides("hybrid_encoder", strides)
    if hidden_dim < 4 or hidden_dim % 4 or num_heads < 1 or hidden_dim % num_heads:
        raise SettingError(
            f"neck.hidden_dim={hidden_dim} must be a multiple of 4 (sine and cosine of row and "
            f"column) and of neck.num_heads={num_heads}; try neck.hidden_dim=256 neck.num_heads=8"
        )
    hint_at_pyramid("hybrid_encoder", strides, 1)
    aifi = AIFI(hidden_dim, num_heads, feedforward_dim, dropout)
    return HybridEncoder(channels, strides, hidden_dim, aifi)


def grid_position(features: Tensor) -> Tensor:
    """Sines and cosines of row and column, a quarter of the channels each.

    Args:
        features: (B, C, h, w), whose size, type and device count.

    Returns:
        (h * w, C).
    """
    channels, height, width = features.shape[1:]
    index = torch.arange(channels // 4, device=features.device)
    frequency = TEMPERATURE ** -(index / (channels // 4))
    rows, columns = (
        torch.arange(size, device=features.device)[:, None] * frequency for size in (height, width)
    )
    rows = rows[:, None].expand(-1, width, -1).flatten(0, 1)
    columns = columns.repeat(height, 1)
    parts = rows.sin(), rows.cos(), columns.sin(), columns.cos()
    return torch.cat(parts, -1).to(features.dtype)
