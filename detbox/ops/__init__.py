"""Deformable attention: one definition, several backends, one place that chooses.

`python -m detbox.ops` lists the backends, says which can run here and why the others cannot, and
tests those that can.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from detbox.ops import library, reference
from detbox.ops.selection import BACKENDS, choose, configure

__all__ = ["BACKENDS", "configure", "ms_deform_attn", "ms_deform_attn_fused"]


def ms_deform_attn(
    value: Tensor,
    shapes: Sequence[tuple[int, int]],
    locations: Tensor,
    weights: Tensor,
    *,
    backend: str | None = None,
) -> Tensor:
    """Multi-scale deformable attention (Deformable DETR, eq. 3).

    Args:
        value: (B, S, heads, D) tokens of all levels, fine to coarse.
        shapes: (h, w) per level.
        locations: (B, Q, heads, L, P, 2) as x, y shares of the padded level.
        weights: (B, Q, heads, L, P).
        backend: one of `BACKENDS`; None: what `DETBOX_OP` or else the configuration says.

    Returns:
        (B, Q, heads * D), of the type of `value`.

    Raises:
        ValueError: unknown backend, or tensors that do not fit together.
        RuntimeError: the backend cannot run here; says why and what to do.
    """
    reference.check_inputs(value, shapes, locations, weights)
    dtype = library.common_type(value, weights)
    chosen = choose(backend, value.device.type, dtype, len(shapes))
    if chosen == "pytorch":
        return reference.ms_deform_attn(value, shapes, locations, weights)
    sizes = library.flat(shapes)
    output: Tensor = library.ms_deform_attn(value, sizes, locations, weights, chosen)
    return output


def ms_deform_attn_fused(
    value: Tensor,
    shapes: Sequence[tuple[int, int]],
    references: Tensor,
    offsets: Tensor,
    logits: Tensor,
    *,
    backend: str | None = None,
) -> Tensor:
    """The same, with softmax and places computed inside, in float32 whatever the type of inputs.

    Args:
        value: (B, S, heads, D) tokens of all levels, fine to coarse.
        shapes: (h, w) per level.
        references: (B, Q, L, 2 | 4) points or boxes cxcywh, shares of the padded level.
        offsets: (B, Q, heads, L, P, 2), in cells around a point (Deformable DETR, sec. 4.1) or in
            parts of half a box around its center (app. A.4).
        logits: (B, Q, heads, L, P); their softmax over L * P are the weights.
        backend: one of `BACKENDS`; None: what `DETBOX_OP` or else the configuration says.

    Returns:
        (B, Q, heads * D), of the type of `value`.

    Raises:
        ValueError: unknown backend, or tensors that do not fit together.
        RuntimeError: the backend cannot run here; says why and what to do.
    """
    reference.check_fused_inputs(value, shapes, references, offsets, logits)
    dtype = library.common_type(value, offsets, logits)
    chosen = choose(backend, value.device.type, dtype, len(shapes))
    if chosen == "pytorch":
        return reference.ms_deform_attn_fused(value, shapes, references, offsets, logits)
    sizes = library.flat(shapes)
    output: Tensor = library.ms_deform_attn_fused(value, sizes, references, offsets, logits, chosen)
    return output
