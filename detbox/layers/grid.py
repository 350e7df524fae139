"""Where the cells of several levels lie in the image (Deformable DETR, app. A.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detbox.ops.reference import level_sizes
from detbox.structures import Memory


def level_boxes(anchors: Tensor, memory: Memory) -> Tensor:
    """Anchors as shares of every padded level: (B, Q, 2 | 4) logits -> (B, Q, L, 2 | 4)."""
    places = anchors.sigmoid()
    valid = memory.valid.repeat(1, 1, places.shape[-1] // 2)
    return places[:, :, None] * valid[:, None]


def pixel_centers(memory: Memory) -> Tensor:
    """Each token's centre as x, y shares of every padded level, (B, S, L, 2) (app. A.4)."""
    extents = (memory.valid * level_sizes(memory.shapes, memory.valid)).unbind(1)
    centers = [
        cell_centers(shape, memory.tokens.device) / extent[:, None]
        for shape, extent in zip(memory.shapes, extents, strict=True)
    ]
    return torch.cat(centers, 1)[:, :, None] * memory.valid[:, None]


def cell_centers(shape: tuple[int, int], device: torch.device) -> Tensor:
    """x, y of the centres of a level's cells, in cells, row-major: (h * w, 2)."""
    rows, columns = (torch.arange(n, dtype=torch.float32, device=device) + 0.5 for n in shape)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack((x, y), -1).flatten(0, 1)


def grid_anchors(mask: Tensor, shapes: Sequence[tuple[int, int]], scale: float = 0.05) -> Tensor:
    """One square anchor per token, `scale * 2**level` wide (app. A.4).

    Args:
        mask: (B, S), True on padding.
        shapes: (h, w) per level.
        scale: width on the finest level, as a share of the unpadded image.

    Returns:
        (B, S, 4) logits; infinity where padded or nearer than 0.01 to the border of [0, 1].
    """
    anchors = []
    masks = torch.split(mask, [height * width for height, width in shapes], 1)
    for level, (shape, part) in enumerate(zip(shapes, masks, strict=True)):
        valid = ~torch.unflatten(part, 1, shape)
        extent = torch.stack((valid[:, 0].sum(1), valid[:, :, 0].sum(1)), -1)[:, None]  # (B, 1, 2)
        center = cell_centers(shape, mask.device) / extent
        anchors.append(torch.cat((center, torch.full_like(center, scale * 2.0**level)), -1))
    boxes = torch.cat(anchors, 1)
    unusable = ~((boxes > 0.01) & (boxes < 0.99)).all(-1) | mask
    return torch.log(boxes / (1 - boxes)).masked_fill(unusable[..., None], torch.inf)
