"""How well a matched query covers its target, as the class target of quality-aware losses."""

from __future__ import annotations

import torch
from torch import Tensor

from detbox.boxes import overlap, to_xyxy
from detbox.losses.boxes import matched_boxes
from detbox.structures import Matches, PredictionSet, Targets

ClassIndex = tuple[Tensor, Tensor, Tensor]


def class_index(targets: Targets, matches: Matches) -> ClassIndex:
    """Where the pairs' own classes are in (B, Q, K): three indices (M,)."""
    return matches.image, matches.query, targets.labels[matches.target]


@torch.no_grad()
def matched_iou(predictions: PredictionSet, targets: Targets, matches: Matches) -> Tensor:
    """IoU of every pair, (M,), without gradient."""
    boxes, truth = matched_boxes(predictions, targets, matches)
    return overlap(to_xyxy(boxes), to_xyxy(truth))[0]


def soft_truth(logits: Tensor, index: ClassIndex, quality: Tensor) -> Tensor:
    """The class target of every logit: `quality` (M,) at `index`, zero elsewhere, (B, Q, K)."""
    return torch.zeros_like(logits).index_put(index, quality)


def best_of(values: Tensor, group: Tensor, num_groups: int) -> Tensor:
    """For each of `values` (M,) the largest of its `group` (M,), (M,)."""
    return values.new_zeros(num_groups).scatter_reduce(0, group, values, "amax")[group]


def ranks(values: Tensor, group: Tensor) -> Tensor:
    """Place of each of `values` (M,) in its `group` (M,), 0 for the largest, (M,) int64."""
    falling = values.argsort(descending=True, stable=True)
    order = falling[group[falling].argsort(stable=True)]
    grouped = group[order]
    place = torch.arange(len(order), device=order.device) - torch.searchsorted(grouped, grouped)
    return torch.empty_like(place).scatter(0, order, place)
