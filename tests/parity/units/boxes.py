"""`unit_boxes`: overlaps of box pairs and their gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from detbox.boxes import area, pairwise_overlap, to_xyxy

INPUTS = ("a_cxcywh", "b_cxcywh", "giou_grad.weights")
EPS = 1e-6
ROWS = slice(2, 8)
"""boxes of non-zero area, whose gradient is recorded"""


def is_input(name: str) -> bool:
    """Whether a tensor is fed to our functions."""
    return name.startswith(INPUTS)


def ours(recorded: Mapping[str, Tensor], meta: Mapping[str, Any]) -> dict[str, Tensor]:
    """What our functions give for the recorded inputs."""
    first, second = recorded["a_cxcywh"].clone().requires_grad_(), recorded["b_cxcywh"]
    first_xyxy, second_xyxy = to_xyxy(first), to_xyxy(second)
    iou, giou = pairwise_overlap(first_xyxy, second_xyxy, EPS)
    areas = area(first_xyxy)[:, None] + area(second_xyxy)
    gradient = torch.autograd.grad((giou[ROWS] * recorded["giou_grad.weights"]).sum(), first)
    return {
        "a_xyxy": first_xyxy,
        "b_xyxy": second_xyxy,
        "iou": iou,
        # Ours return no union; it follows from iou = (areas - union) / (union + eps).
        "union": (areas - iou * EPS) / (1 + iou),
        "giou": giou,
        "giou_grad.wrt_a_cxcywh": gradient[0],
    }
