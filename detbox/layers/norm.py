"""Norms of maps."""

from __future__ import annotations

from torch import Tensor, nn


class MapNorm(nn.LayerNorm):
    """Layer norm over the channels of a (B, C, h, w) map."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise every cell; same shape."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
