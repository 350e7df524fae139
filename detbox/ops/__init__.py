"""Deformable attention: one definition, several backends, one place that chooses."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from detbox.ops import reference

BACKENDS = ("auto", "pytorch")


def ms_deform_attn(
    value: Tensor,
    shapes: Sequence[tuple[int, int]],
    locations: Tensor,
    weights: Tensor,
    *,
    backend: str = "auto",
) -> Tensor:
    """Multi-scale deformable attention (Deformable DETR, eq. 3).

    Args:
        value: (B, S, heads, D) tokens of all levels, fine to coarse.
        shapes: (h, w) per level.
        locations: (B, Q, heads, L, P, 2) as x, y shares of the padded level.
        weights: (B, Q, heads, L, P).
        backend: `auto` or `pytorch`.

    Returns:
        (B, Q, heads * D).

    Raises:
        ValueError: unknown backend, or tensors that do not fit together.
    """
    if backend not in BACKENDS:
        raise ValueError(f"op backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    reference.check_inputs(value, shapes, locations, weights)
    return reference.ms_deform_attn(value, shapes, locations, weights)
