"""Conditional DETR for fast training convergence (Meng et al., ICCV 2021)."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from detbox.layers.attention import attend, check_heads, joined_heads
from detbox.layers.mlp import MLP, xavier_matrices
from detbox.layers.position import SinePosition, sine_embedding
from detbox.models.decoder import Decoder
from detbox.models.deformable_detr import FixedReferences
from detbox.models.detector import Detector, Neck, check_counts
from detbox.models.detr import DenseEncoder, DenseEncoderLayer, DenseWidths, check_one_level
from detbox.models.heads import SharedHeads
from detbox.numerics import in_float32
from detbox.ranges import Count, ShareBelowOne, Whole
from detbox.registry import MODELS
from detbox.structures import Memory, PredictionSet, Queries, QueryGroup


class ConditionalPosition(NamedTuple):
    """The two codes of a query's place."""

    position: Tensor
    """(B, Q, C) as self-attention takes it"""
    sine: Tensor
    """(B, Q, C) scaled sine code of the centre, as cross-attention compares it with memory's"""


class PointQueries(nn.Module):
    """Queries with a learnt position that gives a reference point (sec. 3.3)."""

    def __init__(self, num_queries: int, hidden_dim: int) -> None:
        super().__init__()
        self.position = nn.Embedding(num_queries, hidden_dim)
        self.point_head = MLP(hidden_dim, hidden_dim, 2, num_layers=2)
        xavier_matrices(self.point_head)

    def forward(self, memory: Memory) -> tuple[Queries, tuple[PredictionSet, ...]]:
        """The same queries for every image; anchors are points."""
        position = self.position.weight.expand(len(memory.tokens), -1, -1)
        anchors = in_float32(self.point_head, position)
        groups = (QueryGroup("match", position.shape[1]),)
        return Queries(torch.zeros_like(position), anchors, position, None, groups), ()


class ScaledSine(nn.Module):
    """Sine code of the reference point, scaled channel by channel by the content (sec. 3.3)."""

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.num_frequencies = hidden_dim // 2
        self.scale = MLP(hidden_dim, hidden_dim, hidden_dim, num_layers=2)
        xavier_matrices(self.scale)

    def forward(self, layer: int, queries: Queries, memory: Memory) -> ConditionalPosition:
        """Points (B, Q, 2) -> codes (B, Q, C); the first layer has no content to scale by."""
        sine = sine_embedding(queries.anchors.sigmoid(), self.num_frequencies)
        sine = sine * self.scale(queries.content) if layer else sine
        return ConditionalPosition(cast("Tensor", queries.position), sine)


class ConditionalSelfAttention(nn.Module):
    """Self-attention whose content and position have projections of their own."""

    def __init__(self, widths: DenseWidths) -> None:
        super().__init__()
        dim = widths.hidden_dim
        check_heads(dim, widths.num_heads)
        self.num_heads, self.dropout = widths.num_heads, widths.dropout
        self.query_content, self.query_position = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.key_content, self.key_position = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, content: Tensor, position: Tensor, blocked: Tensor | None) -> Tensor:
        """(B, Q, C) -> (B, Q, C)."""
        query = self.query_content(content) + self.query_position(position)
        key = self.key_content(content) + self.key_position(position)
        dropout = self.dropout if self.training else 0.0
        heads = self.num_heads, None, blocked, dropout
        output: Tensor = self.out_proj(attend(query, key, self.value(content), *heads))
        return output


class ConditionalCrossAttention(nn.Module):
    """Cross-attention that compares content with content and place with place (sec. 3.3).

    Args:
        widths: shared sizes.
        first: of the first layer, where content knows nothing yet: position is added to it.
    """

    def __init__(self, widths: DenseWidths, first: bool) -> None:
        super().__init__()
        dim = widths.hidden_dim
        check_heads(dim, widths.num_heads)
        self.num_heads, self.dropout = widths.num_heads, widths.dropout
        self.query_content, self.query_sine = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.query_position = nn.Linear(dim, dim) if first else None
        self.key_content, self.key_position = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, content: Tensor, position: ConditionalPosition, memory: Memory) -> Tensor:
        """(B, Q, C) -> (B, Q, C)."""
        query, key = self.query_content(content), self.key_content(memory.tokens)
        place = self.key_position(memory.position)
        if self.query_position is not None:
            query, key = query + self.query_position(position.position), key + place
        query = joined_heads(query, self.query_sine(position.sine), self.num_heads)
        key = joined_heads(key, place, self.num_heads)
        dropout = self.dropout if self.training else 0.0
        heads = self.num_heads, memory.mask, None, dropout
        output: Tensor = self.out_proj(attend(query, key, self.value(memory.tokens), *heads))
        return output


class ConditionalDecoderLayer(nn.Module):
    """Self-attention, conditional cross-attention, feed-forward, post-norm (fig. 3)."""

    def __init__(self, widths: DenseWidths, first: bool) -> None:
        super().__init__()
        self.self_attention = ConditionalSelfAttention(widths)
        self.self_norm = nn.LayerNorm(widths.hidden_dim)
        self.cross_attention = ConditionalCrossAttention(widths, first)
        self.cross_norm = nn.LayerNorm(widths.hidden_dim)
        self.feed_forward = widths.feed_forward()
        self.dropout = nn.Dropout(widths.dropout)
        xavier_matrices(self)

    def forward(
        self,
        content: Tensor,
        position: ConditionalPosition,
        places: Tensor,
        memory: Memory,
        blocked: Tensor | None,
    ) -> Tensor:
        """(B, Q, C) -> (B, Q, C); places are known by `position`."""
        update = self.self_attention(content, position.position, blocked)
        content = self.self_norm(content + self.dropout(update))
        update = self.cross_attention(content, position, memory)
        content = self.cross_norm(content + self.dropout(update))
        output: Tensor = self.feed_forward(content)
        return output


class UnmaskedDecoder(Decoder):
    """A decoder that also attends to the padding, as detrex's port of this model does."""

    def forward(self, queries: Queries, memory: Memory) -> list[PredictionSet]:
        """One set per layer and query group."""
        return super().forward(queries, memory._replace(mask=torch.zeros_like(memory.mask)))


@MODELS.register("conditional_detr", scores="sigmoid")
def conditional_detr(
    backbone: nn.Module,
    neck: Neck,
    num_classes: int,
    *,
    num_queries: Count = 300,
    encoder_layers: Whole = 6,
    decoder_layers: Count = 6,
    num_heads: Count = 8,
    feedforward_dim: Count = 2048,
    dropout: ShareBelowOne = 0.1,
    attend_to_padding: bool = False,
) -> Detector:
    """Conditional DETR; `attend_to_padding` repeats what weights trained by detrex are used to.

    Raises:
        ValueError: no query, no decoder layer, or more than one feature level.
    """
    check_counts(num_queries, decoder_layers)
    check_one_level("conditional_detr", neck)
    dim = neck.channels
    widths = DenseWidths(dim, num_heads, feedforward_dim, dropout)
    decoder = UnmaskedDecoder if attend_to_padding else Decoder
    return Detector(
        backbone,
        neck,
        SinePosition(dim),
        DenseEncoder([DenseEncoderLayer(widths) for _ in range(encoder_layers)]),
        PointQueries(num_queries, dim),
        decoder(
            [ConditionalDecoderLayer(widths, first=i == 0) for i in range(decoder_layers)],
            ScaledSine(dim),
            nn.LayerNorm(dim),
            FixedReferences(),
            SharedHeads(dim, num_classes),
        ),
    )
