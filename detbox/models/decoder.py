"""The one decoder loop: position, layer, norm, refine, heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from detbox.structures import Memory, Origin, PredictionSet, Queries


class Heads(Protocol):
    """What turns a layer's tokens into predictions."""

    def classify(self, layer: int, hidden: Tensor) -> Tensor:
        """(B, Q, C) -> class logits (B, Q, K)."""

    def locate(self, layer: int, hidden: Tensor) -> Tensor:
        """(B, Q, C) -> box offsets (B, Q, 4), logits."""


class Refined(NamedTuple):
    """What a layer says about places, all as logits; a paper decides where gradients end."""

    boxes: Tensor
    """(B, Q, 4) prediction of this layer"""
    anchors: Tensor
    """(B, Q, 2 | 4) what the next layer's boxes start from"""
    places: Tensor
    """(B, Q, 2 | 4) the same anchors as the next layer's attention sees them"""


Refine = Callable[[Heads, int, Tensor, Tensor, Tensor], Refined]
QueryPosition = Callable[[int, Queries, Memory], Any]


class Decoder(nn.Module):
    """Run the layers and predict after each.

    Args:
        layers: (content, position, places, memory, blocked) -> content.
        position: (layer, queries as this layer sees them, memory) -> what the layers take as
            position; None: the queries bring their own.
        norm: applied to every layer's output before it is read.
        refine: (heads, layer, content, hidden, anchors) -> boxes and the next layer's anchors.
        heads: `classify(layer, hidden)` and `locate(layer, hidden)`.
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        position: QueryPosition | None,
        norm: nn.Module,
        refine: Refine,
        heads: Heads,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.position = position
        self.norm = norm
        self.refine = refine
        self.heads = heads

    def forward(self, queries: Queries, memory: Memory) -> list[PredictionSet]:
        """One set per layer and query group; the last layer's last group comes last."""
        content, anchors, places = queries.content, queries.anchors, queries.anchors
        sets: list[PredictionSet] = []
        for index, layer in enumerate(self.layers):
            seen = queries._replace(content=content, anchors=places)
            position = self.position(index, seen, memory) if self.position else queries.position
            content = layer(content, position, places, memory, queries.blocked)
            hidden = self.norm(content)
            boxes, anchors, places = self.refine(self.heads, index, content, hidden, anchors)
            logits = self.heads.classify(index, hidden)
            sets += split_by_group(index, logits, boxes.sigmoid(), queries)
        return sets


def split_by_group(
    layer: int, logits: Tensor, boxes: Tensor, queries: Queries
) -> list[PredictionSet]:
    """Cut a layer's predictions into the sets of its query groups."""
    sizes = [group.size for group in queries.groups]
    parts = zip(
        queries.groups, torch.split(logits, sizes, 1), torch.split(boxes, sizes, 1), strict=True
    )
    return [
        PredictionSet(
            Origin(layer, group.name),
            scores,
            places,
            group.matches,
            repeats=group.repeats,
            matched_only=group.matched_only,
        )
        for group, scores, places in parts
    ]
