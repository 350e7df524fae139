"""Multi-scale deformable attention in pure PyTorch: the definition of every backend."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def ms_deform_attn(
    value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """Sample every level bilinearly at `locations` and sum with `weights` (Deformable DETR, eq. 3).

    Works level by level, so that temporaries hold one level's samples and not all of them. Points
    outside a level contribute zero. Places need more digits than half precision has, so sampling
    is done in float32 at least.

    Args:
        value: (B, S, heads, D) tokens of all levels, fine to coarse.
        shapes: (h, w) per level; their products sum to S.
        locations: (B, Q, heads, L, P, 2) as x, y shares of the padded level.
        weights: (B, Q, heads, L, P).

    Returns:
        (B, Q, heads * D), of the type of `value`.
    """
    dtype = torch.promote_types(value.dtype, torch.float32)
    batch, _, heads, width = value.shape
    num_queries, num_points = locations.shape[1], locations.shape[4]
    grids = (
        (2 * locations.to(dtype) - 1).permute(3, 0, 2, 1, 4, 5).flatten(1, 2)
    )  # (L, B*heads, Q, P, 2)
    scales = (
        weights.to(dtype)
        .permute(3, 0, 2, 1, 4)
        .reshape(len(shapes), batch * heads, 1, num_queries, num_points)
    )
    output = value.new_zeros(batch * heads, width, num_queries, dtype=dtype)
    levels = value.to(dtype).split([height * width_ for height, width_ in shapes], dim=1)
    for level, shape, grid, scale in zip(levels, shapes, grids, scales, strict=True):
        pixels = level.flatten(2).transpose(1, 2).reshape(batch * heads, width, *shape)
        sampled = F.grid_sample(pixels, grid, align_corners=False)
        output = output + (sampled * scale).sum(-1)  # (B*heads, D, Q)
    return output.to(value.dtype).view(batch, heads * width, num_queries).transpose(1, 2)


def check_inputs(
    value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> None:
    """Refuse inputs whose shapes do not fit together.

    Raises:
        ValueError: says which tensor, what was expected and what came.
    """
    tokens = sum(height * width for height, width in shapes)
    if value.dim() != 4 or value.shape[1] != tokens:
        raise ValueError(
            f"value must be (B, {tokens}, heads, D) for level shapes {list(shapes)}, "
            f"got {tuple(value.shape)}"
        )
    batch, heads = value.shape[0], value.shape[2]
    fixed = (locations.shape[0], *locations.shape[2:4], locations.shape[-1])
    if locations.dim() != 6 or fixed != (batch, heads, len(shapes), 2):
        raise ValueError(
            f"locations must be (B={batch}, Q, heads={heads}, L={len(shapes)}, P, 2), "
            f"got {tuple(locations.shape)}"
        )
    if weights.shape != locations.shape[:-1]:
        raise ValueError(
            f"weights must be {tuple(locations.shape[:-1])} like locations, "
            f"got {tuple(weights.shape)}"
        )
