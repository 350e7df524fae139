"""Groups of queries side by side: who may attend to whom when several makers add theirs."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from detbox.structures import Queries, QueryGroup


def with_group(
    queries: Queries,
    content: Tensor,
    anchors: Tensor,
    group: QueryGroup,
    *,
    position: Tensor | None = None,
    blocked: Tensor | None = None,
    sees: Collection[str] = (),
) -> Queries:
    """Put a group of P queries before the Q there are, none of which may attend to it.

    Masks that are there stay, so denoising and one-to-many branches compose in any order.

    Args:
        queries: those there are; their last group is the one that inference reads.
        content: (B, P, C).
        anchors: (B, P, 2 | 4) logits.
        group: its name, size and matches.
        position: (B, P, C); without it the decoder derives all positions from the anchors.
        blocked: (P, P) among themselves, True where a row may not attend to a column.
        sees: names of the other groups that the new queries may attend to.
    """
    both = None if position is None or queries.position is None else (position, queries.position)
    return Queries(
        torch.cat((content, queries.content), 1),
        torch.cat((anchors, queries.anchors), 1),
        None if both is None else torch.cat(both, 1),
        _joined(queries, content.shape[1], blocked, sees, content.device),
        (group, *queries.groups),
    )


def _joined(
    queries: Queries,
    added: int,
    blocked: Tensor | None,
    sees: Collection[str],
    device: torch.device,
) -> Tensor:
    """(P + Q, P + Q)."""
    present = queries.content.shape[1]
    mask = torch.zeros(added + present, added + present, dtype=torch.bool, device=device)
    mask[added:, :added] = True
    if blocked is not None:
        mask[:added, :added] = blocked
    if queries.blocked is not None:
        mask[added:, added:] = queries.blocked
    start = added
    for group in queries.groups:
        mask[:added, start : start + group.size] = group.name not in sees
        start += group.size
    return mask
