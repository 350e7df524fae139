"""Attention to a few sampled points of every level (Deformable DETR, sec. 4.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from detbox import ops
from detbox.layers.attention import check_heads
from detbox.structures import Memory


class DeformableAttention(nn.Module):
    """Multi-scale deformable attention with its projections.

    Args:
        hidden_dim: C, divisible by `num_heads`.
        num_levels: L.
        num_heads: attention heads.
        num_points: sampling points per head and level.
    """

    def __init__(
        self, hidden_dim: int, num_levels: int, num_heads: int = 8, num_points: int = 4
    ) -> None:
        super().__init__()
        check_heads(hidden_dim, num_heads)
        self.num_levels, self.num_heads, self.num_points = num_levels, num_heads, num_points
        samples = num_heads * num_levels * num_points
        self.sampling_offsets = nn.Linear(hidden_dim, samples * 2)
        self.attention_weights = nn.Linear(hidden_dim, samples)
        self.value_proj = nn.Linear(hidden_dim, hidden_dim)
        self.output_proj = nn.Linear(hidden_dim, hidden_dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as an even ring of points around the reference (Deformable DETR, app. A.4)."""
        for linear in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(linear.weight)
        for linear in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(linear.weight)
        for linear in (self.attention_weights, self.value_proj, self.output_proj):
            nn.init.zeros_(linear.bias)
        angle = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        ring = torch.stack((angle.cos(), angle.sin()), -1)
        ring = ring / ring.abs().amax(-1, keepdim=True)
        distance = torch.arange(1, self.num_points + 1)
        bias = ring[:, None, None, :] * distance[:, None]  # (heads, 1, P, 2)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(bias.expand(-1, self.num_levels, -1, -1).flatten())

    def forward(self, query: Tensor, references: Tensor, memory: Memory) -> Tensor:
        """Attend from each query to points around its reference.

        Args:
            query: (B, Q, C), position included.
            references: (B, Q, L, 2 | 4) points or boxes, as shares of the padded level.
            memory: tokens without position; padded ones count as zero.

        Returns:
            (B, Q, C).
        """
        value = self.value_proj(memory.tokens).masked_fill(memory.mask[..., None], 0.0)
        value = value.unflatten(-1, (self.num_heads, -1))  # (B, S, heads, D)
        grid = (self.num_heads, self.num_levels, self.num_points)
        offsets = self.sampling_offsets(query).unflatten(-1, (*grid, 2))
        logits = self.attention_weights(query).unflatten(-1, grid)
        sampled = ops.ms_deform_attn_fused(value, memory.shapes, references, offsets, logits)
        output: Tensor = self.output_proj(sampled)
        return output
