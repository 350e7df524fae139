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
    levels = torch.split(value.to(dtype), [height * width_ for height, width_ in shapes], 1)
    for level, shape, grid, scale in zip(levels, shapes, grids, scales, strict=True):
        pixels = level.flatten(2).transpose(1, 2).reshape(batch * heads, width, *shape)
        sampled = F.grid_sample(pixels, grid, align_corners=False)
        output = output + (sampled * scale).sum(-1)  # (B*heads, D, Q)
    return output.to(value.dtype).view(batch, heads * width, num_queries).transpose(1, 2)


def ms_deform_attn_fused(
    value: Tensor,
    shapes: Sequence[tuple[int, int]],
    references: Tensor,
    offsets: Tensor,
    logits: Tensor,
) -> Tensor:
    """Softmax the logits, place the points around their references, attend.

    Args:
        value: (B, S, heads, D) tokens of all levels, fine to coarse.
        shapes: (h, w) per level.
        references: (B, Q, L, 2 | 4) points or boxes cxcywh, shares of the padded level.
        offsets: (B, Q, heads, L, P, 2), in cells around a point (Deformable DETR, eq. 3) or in
            parts of half a box around its center (app. A.4).
        logits: (B, Q, heads, L, P), softmax over L * P.

    Returns:
        (B, Q, heads * D), of the type of `value`.
    """
    dtype = torch.promote_types(value.dtype, torch.float32)
    weights = logits.to(dtype).flatten(-2).softmax(-1).view(logits.shape)
    locations = _locations(shapes, references.to(dtype), offsets.to(dtype))
    return ms_deform_attn(value, shapes, locations, weights)


def _locations(shapes: Sequence[tuple[int, int]], references: Tensor, offsets: Tensor) -> Tensor:
    references = references[:, :, None, :, None]  # (B, Q, 1, L, 1, 2 | 4)
    if references.shape[-1] == 2:
        return references + offsets / level_sizes(shapes, references)[:, None]
    center, size = torch.split(references, 2, -1)
    return center + offsets / offsets.shape[-2] * size * 0.5


def level_sizes(shapes: Sequence[tuple[int, int]], like: Tensor) -> Tensor:
    """Width and height of every level as a tensor, (L, 2), without waiting for the device."""
    sizes = torch.tensor([(width, height) for height, width in shapes], dtype=like.dtype)
    return sizes.to(like.device, non_blocking=True)


def check_inputs(
    value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> None:
    """Refuse inputs of `ms_deform_attn` that do not fit together.

    Raises:
        ValueError: says which tensor, what was expected and what came.
    """
    _check_value(value, shapes)
    _check_places(value, shapes, locations, "locations")
    _check_like(weights, locations, "weights", "locations")
    _check_types(value=value, locations=locations, weights=weights)


def check_fused_inputs(
    value: Tensor,
    shapes: Sequence[tuple[int, int]],
    references: Tensor,
    offsets: Tensor,
    logits: Tensor,
) -> None:
    """Refuse inputs of `ms_deform_attn_fused` that do not fit together.

    Raises:
        ValueError: says which tensor, what was expected and what came.
    """
    _check_value(value, shapes)
    _check_places(value, shapes, offsets, "offsets")
    _check_like(logits, offsets, "logits", "offsets")
    expected = (*offsets.shape[:2], len(shapes))
    if references.shape[:-1] != expected or references.shape[-1] not in (2, 4):
        batch, queries, levels = expected
        raise ValueError(
            f"references must be (B={batch}, Q={queries}, L={levels}, 2 or 4), "
            f"got {tuple(references.shape)}"
        )
    _check_types(value=value, references=references, offsets=offsets, logits=logits)


def _check_value(value: Tensor, shapes: Sequence[tuple[int, int]]) -> None:
    tokens = sum(height * width for height, width in shapes)
    if value.dim() != 4 or value.shape[1] != tokens:
        raise ValueError(
            f"value must be (B, {tokens}, heads, D) for level shapes {list(shapes)}, "
            f"got {tuple(value.shape)}"
        )


def _check_places(
    value: Tensor, shapes: Sequence[tuple[int, int]], places: Tensor, name: str
) -> None:
    batch, heads, levels = value.shape[0], value.shape[2], len(shapes)
    fixed = (places.shape[0], *places.shape[2:4], places.shape[-1])
    if places.dim() != 6 or fixed != (batch, heads, levels, 2):
        raise ValueError(
            f"{name} must be (B={batch}, Q, heads={heads}, L={levels}, P, 2), "
            f"got {tuple(places.shape)}"
        )


def _check_like(tensor: Tensor, places: Tensor, name: str, of: str) -> None:
    if tensor.shape != places.shape[:-1]:
        raise ValueError(
            f"{name} must be {tuple(places.shape[:-1])} like {of}, got {tuple(tensor.shape)}"
        )


def _check_types(**tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise ValueError(f"{name} must be of a floating-point type, got {tensor.dtype}")
        if tensor.device != tensors["value"].device:
            raise ValueError(
                f"{name} must be on the device of value, {tensors['value'].device}, "
                f"got {tensor.device}"
            )
