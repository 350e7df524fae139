"""Sine encodings of places: of every pixel of a map, and of points and boxes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class SinePosition(nn.Module):
    """Encode each pixel by its row and column, counted without padding (DETR, app. A.4).

    Args:
        hidden_dim: C; rows fill the first half of the channels, columns the second.
        temperature: of rows and columns; DINO uses 20, DETR 10000.
        offset: added to the count before it is normalised; Deformable DETR uses -0.5.
        normalize: count in shares of the unpadded size times 2 pi, not in pixels.
    """

    def __init__(
        self,
        hidden_dim: int,
        temperature: tuple[float, float] = (10000.0, 10000.0),
        offset: float = 0.0,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        self.num_frequencies = hidden_dim // 2
        self.temperature = temperature
        self.offset = offset
        self.normalize = normalize

    def forward(self, mask: Tensor) -> Tensor:
        """(B, h, w), True on padding -> (B, C, h, w) in float32."""
        rows = self._count(~mask, 1)
        columns = self._count(~mask, 2)
        parts = [
            interleaved_sine(coordinate, self.num_frequencies, temperature)
            for coordinate, temperature in zip((rows, columns), self.temperature, strict=True)
        ]
        return torch.cat(parts, -1).permute(0, 3, 1, 2)

    def _count(self, valid: Tensor, axis: int) -> Tensor:
        count = valid.cumsum(axis, dtype=torch.float32)
        if not self.normalize:
            return count
        total = count.narrow(axis, -1, 1)
        return (count + self.offset) / (total + 1e-6) * (2 * math.pi)


def sine_embedding(boxes: Tensor, num_frequencies: int) -> Tensor:
    """Encode points or boxes in [0, 1], in the order y, x, w, h (DAB-DETR, sec. 4.2).

    Args:
        boxes: (..., 2 | 4).
        num_frequencies: channels per coordinate.

    Returns:
        (..., 2 * num_frequencies | 4 * num_frequencies).
    """
    x, y, *size = boxes.unbind(-1)
    coordinates = torch.stack((y, x, *size), -1) * (2 * math.pi)
    return interleaved_sine(coordinates, num_frequencies, 10000.0).flatten(-2)


def interleaved_sine(angle: Tensor, num_frequencies: int, temperature: float) -> Tensor:
    """Sine and cosine of `angle` at falling frequencies: (...) -> (..., num_frequencies)."""
    index = torch.arange(num_frequencies, dtype=angle.dtype, device=angle.device)
    wavelength = temperature ** (2 * index.div(2, rounding_mode="floor") / num_frequencies)
    phase = angle[..., None] / wavelength
    return torch.stack((phase[..., 0::2].sin(), phase[..., 1::2].cos()), -1).flatten(-2)
