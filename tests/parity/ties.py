"""Compare by value where the order is not defined: detections and matches that tie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from detbox.structures import Detections

SAME_COST = 1e-4
"""queries whose recorded costs are all nearer than this are interchangeable"""


@torch.no_grad()
def aligned_detections(
    recorded: Mapping[str, Tensor], detections: Sequence[Detections], prefix: str, tie: float
) -> dict[str, Tensor]:
    """Our detections under recorded names, tied ones in the recorded order.

    Args:
        recorded: `{prefix}{image}.scores`, `.labels`, `.boxes`.
        detections: one per image.
        prefix: of the names.
        tie: largest difference of scores that counts as equal.
    """
    named: dict[str, Tensor] = {}
    for image, found in enumerate(detections):
        found = Detections(found.boxes.detach(), found.scores.detach(), found.labels)
        key = f"{prefix}{image}."
        boxes, scores, labels = (recorded[f"{key}{part}"] for part in ("boxes", "scores", "labels"))
        wanted = Detections(boxes, scores, labels)
        order = _order(found, wanted, tie)
        named |= {
            f"{key}boxes": found.boxes[order],
            f"{key}scores": found.scores[order],
            f"{key}labels": found.labels[order],
        }
    return named


def _order(found: Detections, wanted: Detections, tie: float) -> Tensor:
    """For each wanted detection the nearest unused one of tied score; its own rank if none."""
    unused = list(range(len(found.scores)))
    order = []
    for rank in range(len(wanted.scores)):
        tied = [
            each
            for each in unused
            if abs(float(found.scores[each] - wanted.scores[rank])) <= tie
            and found.labels[each] == wanted.labels[rank]
        ]
        gaps = [float((found.boxes[each] - wanted.boxes[rank]).abs().max()) for each in tied]
        best = tied[gaps.index(min(gaps))] if tied else next(iter(unused), rank)
        unused.remove(best)
        order.append(best)
    return torch.tensor(order, dtype=torch.int64)


def aligned_matches(
    recorded: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Our matches, with the recorded query wherever its recorded costs equal those of ours."""
    named = dict(found)
    for name in [each for each in found if each.endswith(".pred_idx")]:
        prefix = name.removesuffix("pred_idx")
        if f"{prefix}cost" in recorded and recorded[name].shape == found[name].shape:
            named |= _matches(recorded, found, prefix)
    return named


def _matches(
    recorded: Mapping[str, Tensor], found: Mapping[str, Tensor], prefix: str
) -> dict[str, Tensor]:
    cost = recorded[f"{prefix}cost"]
    theirs = {int(t): int(q) for q, t in _pairs(recorded, prefix)}
    pairs = []
    for query, target in _pairs(found, prefix):
        other = theirs.get(int(target), int(query))
        same = torch.allclose(cost[int(query)], cost[other], rtol=0, atol=SAME_COST)
        pairs.append((other if same else int(query), int(target)))
    query, target = torch.tensor(sorted(pairs), dtype=torch.int64).reshape(-1, 2).unbind(1)
    return {f"{prefix}pred_idx": query, f"{prefix}tgt_idx": target}


def _pairs(named: Mapping[str, Tensor], prefix: str) -> zip[tuple[Tensor, Tensor]]:
    return zip(named[f"{prefix}pred_idx"], named[f"{prefix}tgt_idx"], strict=True)
