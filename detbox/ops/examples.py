"""Random inputs of the op, for self-tests and benchmarks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detbox.ops.kernel import Inputs


def example(
    shapes: Sequence[tuple[int, int]],
    queries: int | None = None,
    *,
    batch: int = 1,
    heads: int = 8,
    width: int = 32,
    points: int = 4,
    reference_size: int = 2,
    seed: int = 0,
) -> Inputs:
    """Fused inputs in float32, with offsets of a few cells as trained models have them.

    Args:
        shapes: (h, w) per level.
        queries: at random places; None: one for every token, as in an encoder.
        batch: B.
        heads: attention heads.
        width: channels of a head.
        points: P.
        reference_size: 2 for points, 4 for boxes.
        seed: equal seeds give equal inputs.
    """
    draw = torch.Generator().manual_seed(seed)
    places = _centers(shapes) if queries is None else torch.rand(queries, 2, generator=draw)
    count, levels, tokens = len(places), len(shapes), sum(h * w for h, w in shapes)
    references = places.expand(batch, count, 2)
    if reference_size == 4:
        sizes = 0.05 + 0.3 * torch.rand(batch, count, 2, generator=draw)
        references = torch.cat((references, sizes), -1)
    each = (batch, count, heads, levels, points)
    return Inputs(
        torch.randn(batch, tokens, heads, width, generator=draw),
        tuple((h, w) for h, w in shapes),
        references[:, :, None].expand(-1, -1, levels, -1).contiguous(),
        2 * torch.randn(*each, 2, generator=draw),
        torch.randn(*each, generator=draw),
    )


def _centers(shapes: Sequence[tuple[int, int]]) -> Tensor:
    """x, y of every token's center as shares of its level, (S, 2)."""
    levels = []
    for height, width in shapes:
        y, x = torch.meshgrid(
            (torch.arange(height) + 0.5) / height,
            (torch.arange(width) + 0.5) / width,
            indexing="ij",
        )
        levels.append(torch.stack((x, y), -1).flatten(0, 1))
    return torch.cat(levels)
