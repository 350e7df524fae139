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
        position: (B, P, C), where those there are bring theirs too; None where the decoder derives
            positions from the anchors.
        blocked: (P, P) among themselves, True where a row may not attend to a column.
        sees: names of the other groups that the new queries may attend to.

    Raises:
        ValueError: positions of one side alone, which no decoder could tell from the anchors.
    """
    return Queries(
        torch.cat((content, queries.content), 1),
        torch.cat((anchors, queries.anchors), 1),
        _positions(queries, position, group.name),
        _joined(queries, content.shape[1], blocked, sees, content.device),
        (group, *queries.groups),
    )


def _positions(queries: Queries, position: Tensor | None, name: str) -> Tensor | None:
    """(B, P + Q, C), or None for the decoder to derive."""
    if position is None and queries.position is None:
        return None
    if position is None or queries.position is None:
        there, lacking = ("the others", name) if position is None else (name, "the others")
        raise ValueError(
            f"query group {name!r}: expected positions of all queries or of none, got those of "
            f"{there} without those of {lacking}; give with_group a `position`, or none where the "
            "decoder derives it from the anchors"
        )
    return torch.cat((position, queries.position), 1)


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
