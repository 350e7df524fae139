"""Box geometry: formats, overlap, and the logit scale that anchors live on."""

from __future__ import annotations

import torch
from torch import Tensor


def to_xyxy(boxes: Tensor) -> Tensor:
    """cxcywh -> xyxy, (..., 4)."""
    center, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat((center - size / 2, center + size / 2), -1)


def to_cxcywh(boxes_xyxy: Tensor) -> Tensor:
    """xyxy -> cxcywh, (..., 4)."""
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return torch.cat(((low + high) / 2, high - low), -1)


def box_scale(sizes: Tensor) -> Tensor:
    """What turns shares of an image into its pixels: (..., 2) height, width -> (..., 4) whwh."""
    return sizes.flip(-1).repeat(*[1] * (sizes.ndim - 1), 2)


def area(boxes_xyxy: Tensor) -> Tensor:
    """Area of xyxy boxes, (..., 4) -> (...)."""
    return (boxes_xyxy[..., 2] - boxes_xyxy[..., 0]) * (boxes_xyxy[..., 3] - boxes_xyxy[..., 1])


def overlap(first_xyxy: Tensor, second_xyxy: Tensor, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU of boxes that broadcast together (Rezatofighi et al., CVPR 2019).

    Never asserts a positive size: predictions may be degenerate, and `eps` keeps them finite.

    Args:
        first_xyxy: (..., 4).
        second_xyxy: (..., 4), broadcastable against the first.
        eps: added to both denominators; DINO uses 1e-6, DETR and Deformable DETR 0.

    Returns:
        IoU and GIoU, each of the broadcast shape without the last dimension.
    """
    low = torch.maximum(first_xyxy[..., :2], second_xyxy[..., :2])
    high = torch.minimum(first_xyxy[..., 2:], second_xyxy[..., 2:])
    intersection = (high - low).clamp(min=0).prod(-1)
    union = area(first_xyxy) + area(second_xyxy) - intersection
    iou = intersection / (union + eps)

    hull_low = torch.minimum(first_xyxy[..., :2], second_xyxy[..., :2])
    hull_high = torch.maximum(first_xyxy[..., 2:], second_xyxy[..., 2:])
    hull = (hull_high - hull_low).clamp(min=0).prod(-1)
    return iou, iou - (hull - union) / (hull + eps)


def clipped(boxes_xyxy: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes (..., 4) in pixels without what lies outside a picture of that height and width."""
    height, width = size
    return boxes_xyxy.clamp(min=0).minimum(boxes_xyxy.new_tensor([width, height, width, height]))


def pairwise_overlap(
    first_xyxy: Tensor, second_xyxy: Tensor, eps: float = 1e-6
) -> tuple[Tensor, Tensor]:
    """IoU and GIoU of every pair, (..., N, 4) and (..., M, 4) -> two (..., N, M)."""
    return overlap(first_xyxy[..., :, None, :], second_xyxy[..., None, :, :], eps)


def inverse_sigmoid(share: Tensor, eps: float = 1e-3) -> Tensor:
    """Logit with both sides clamped at `eps`: 1e-3 in the DAB family and DINO, 1e-5 before."""
    share = share.clamp(0, 1)
    return torch.log(share.clamp(min=eps) / (1 - share).clamp(min=eps))
