"""Parts of DN-DETR (Li et al., CVPR 2022): groups of noised targets beside the matching queries."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from detbox.structures import Matches, Queries, QueryGroup, Targets


class Slots(NamedTuple):
    """Where each repeated target sits among the denoising queries of its image."""

    image: Tensor
    """(R * T,)"""
    query: Tensor
    """(R * T,)"""
    target: Tensor
    """(R * T,) position in the flat targets"""
    width: int
    """slots per repeat, the largest object count, at least 1 so that the graph never changes"""


def repeated_slots(targets: Targets, repeats: int) -> Slots:
    """Lay out `repeats` copies of all targets: copy r of an image's object j is slot r * width + j.

    The copies follow each other in the flat order, each holding the whole batch.
    """
    width = max(1, *targets.counts)
    total = sum(targets.counts)
    counts = torch.tensor(targets.counts)
    image = torch.arange(len(targets.counts)).repeat_interleave(counts)
    place = torch.arange(total) - (counts.cumsum(0) - counts)[image]
    copy = torch.arange(repeats).repeat_interleave(total)
    flat = torch.arange(total).repeat(repeats)
    matches = Matches(image.repeat(repeats), copy * width + place.repeat(repeats), flat)
    return Slots(*matches.to(targets.labels.device), width)


def blocked_between_groups(
    num_denoising: int, group_size: int, num_matching: int, device: torch.device
) -> Tensor:
    """Attention mask (P + Q, P + Q): groups and matching queries cannot peek (sec. 3.4).

    Denoising queries see their own group and the matching queries; matching ones see each other.
    """
    group = torch.arange(num_denoising, device=device) // group_size
    matching = torch.full((num_matching,), -1, device=device)
    member = torch.cat((group, matching))
    seen = (member[:, None] == member[None, :]) | (member[None, :] == -1)
    return ~seen


def with_denoising(
    queries: Queries, content: Tensor, anchors: Tensor, matches: Matches, groups: int, scale: float
) -> Queries:
    """Put P denoising queries of `groups` equal groups before the matching queries."""
    num_denoising, num_matching = content.shape[1], queries.content.shape[1]
    blocked = blocked_between_groups(
        num_denoising, num_denoising // groups, num_matching, content.device
    )
    return queries._replace(
        content=torch.cat((content, queries.content), 1),
        anchors=torch.cat((anchors, queries.anchors), 1),
        blocked=blocked,
        groups=(QueryGroup("denoise", num_denoising, matches, scale), *queries.groups),
    )


def scattered(values: Tensor, slots: Slots, batch: int, num_slots: int) -> Tensor:
    """Values (R * T, C) at their slots of (B, P, C), zeros elsewhere."""
    empty = values.new_zeros(batch, num_slots, values.shape[-1])
    return empty.index_put((slots.image, slots.query), values)


def flipped_labels(labels: Tensor, flip: Tensor, replacement: Tensor, share: float) -> Tensor:
    """Replace a label where its uniform draw `flip` falls below `share` (sec. 3.3, label noise)."""
    return torch.where(flip < share, replacement, labels)


def label_table(num_classes: int, hidden_dim: int) -> nn.Embedding:
    """Content of a denoising query by class; the last row is the class of no object."""
    return nn.Embedding(num_classes + 1, hidden_dim)
