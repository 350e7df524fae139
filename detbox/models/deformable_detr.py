"""Deformable DETR (Zhu et al., ICLR 2021): attention to few points, on maps of several scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detbox.boxes import inverse_sigmoid
from detbox.errors import SettingError
from detbox.layers.attention import Attention
from detbox.layers.deformable_attention import DeformableAttention
from detbox.layers.grid import grid_anchors, level_boxes, pixel_centers
from detbox.layers.mlp import MLP, FeedForward
from detbox.layers.position import SinePosition, interleaved_sine
from detbox.models.decoder import Decoder, Heads, Refined
from detbox.models.detector import Detector, Neck, check_counts
from detbox.models.detr import flattened
from detbox.models.heads import LayerHeads, SharedHeads
from detbox.numerics import in_float32
from detbox.ranges import Count, ShareBelowOne, Whole
from detbox.registry import MODELS
from detbox.structures import ENCODER, FeatureMap, Memory, PredictionSet, Queries, QueryGroup


class DeformableWidths(NamedTuple):
    """Sizes that the layers of a deformable transformer share."""

    hidden_dim: int
    num_levels: int
    num_heads: int
    num_points: int
    feedforward_dim: int
    dropout: float

    def attention(self) -> DeformableAttention:
        """Deformable attention of these sizes."""
        return DeformableAttention(
            self.hidden_dim, self.num_levels, self.num_heads, self.num_points
        )

    def feed_forward(self) -> FeedForward:
        """A feed-forward block of these sizes."""
        return FeedForward(self.hidden_dim, self.feedforward_dim, self.dropout)


class DeformableEncoderLayer(nn.Module):
    """Deformable self-attention over all levels, then feed-forward, post-norm (sec. 4.1)."""

    def __init__(self, widths: DeformableWidths) -> None:
        super().__init__()
        self.attention = widths.attention()
        self.attention_norm = nn.LayerNorm(widths.hidden_dim)
        self.feed_forward = widths.feed_forward()
        self.dropout = nn.Dropout(widths.dropout)

    def forward(self, memory: Memory, references: Tensor) -> Memory:
        """Refine the tokens; `references` (B, S, L, 2) are the pixel centres."""
        update = self.attention(memory.tokens + memory.position, references, memory)
        tokens = self.attention_norm(memory.tokens + self.dropout(update))
        return memory._replace(tokens=self.feed_forward(tokens))


class DeformableEncoder(nn.Module):
    """Join the levels, tell them apart by an embedding, and let their tokens attend (sec. 4.1)."""

    def __init__(self, layers: Sequence[DeformableEncoderLayer], widths: DeformableWidths) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        embedding = torch.randn(widths.num_levels, widths.hidden_dim)
        # Nothing reads a position behind an encoder without layers.
        self.level_embed = nn.Parameter(embedding, requires_grad=len(self.layers) > 0)

    def forward(self, features: Sequence[FeatureMap]) -> Memory:
        """Feature maps of L levels -> refined memory."""
        memory = self.flatten(features)
        references = pixel_centers(memory)
        for layer in self.layers:
            memory = layer(memory, references)
        return memory

    def flatten(self, features: Sequence[FeatureMap]) -> Memory:
        """Concatenate the levels; the level embedding goes to the position only."""
        if len(features) != len(self.level_embed):
            raise ValueError(
                f"the encoder was built for {len(self.level_embed)} levels, got {len(features)} "
                "feature maps; let neck.num_levels agree with the model"
            )
        return flattened(
            [
                feature._replace(position=feature.position + embed[:, None, None])
                for feature, embed in zip(features, self.level_embed, strict=True)
            ]
        )


class DeformableDecoderLayer(nn.Module):
    """Self-attention among queries, deformable cross-attention, feed-forward, post-norm."""

    def __init__(self, widths: DeformableWidths) -> None:
        super().__init__()
        dim = widths.hidden_dim
        self.self_attention = Attention(dim, widths.num_heads, widths.dropout)
        self.self_norm = nn.LayerNorm(dim)
        self.cross_attention = widths.attention()
        self.cross_norm = nn.LayerNorm(dim)
        self.feed_forward = widths.feed_forward()
        self.dropout = nn.Dropout(widths.dropout)

    def forward(
        self,
        content: Tensor,
        position: Tensor,
        anchors: Tensor,
        memory: Memory,
        blocked: Tensor | None,
    ) -> Tensor:
        """(B, Q, C) -> (B, Q, C); `anchors` (B, Q, 2 | 4) are logits."""
        query = content + position
        update = self.self_attention(query, query, content, blocked=blocked)
        content = self.self_norm(content + self.dropout(update))
        update = self.cross_attention(content + position, level_boxes(anchors, memory), memory)
        content = self.cross_norm(content + self.dropout(update))
        output: Tensor = self.feed_forward(content)
        return output


class Proposals(NamedTuple):
    """Encoder tokens read as detections."""

    tokens: Tensor
    """(B, N, C)"""
    logits: Tensor
    """(B, N, K)"""
    anchors: Tensor
    """(B, N, 4) logits of boxes"""


class TopProposals(nn.Module):
    """Read every encoder token as a detection and keep the best (sec. 4.2, two-stage)."""

    def __init__(self, hidden_dim: int, class_head: nn.Linear, box_head: MLP) -> None:
        super().__init__()
        self.output = nn.Linear(hidden_dim, hidden_dim)
        nn.init.xavier_uniform_(self.output.weight)
        self.norm = nn.LayerNorm(hidden_dim)
        self.class_head = class_head
        self.box_head = box_head

    def forward(self, memory: Memory, num_queries: int) -> Proposals:
        """The `num_queries` tokens of best class logit, best first; all where there are fewer.

        Their anchors are the predicted boxes, with gradient.
        """
        every = self.read(memory)
        index = self.select(every.logits.amax(-1), num_queries)
        tokens, logits, anchors = (gathered(each, index) for each in every)
        return Proposals(tokens, logits, self.box_head(tokens) + anchors)

    def read(self, memory: Memory) -> Proposals:
        """All S tokens with their logits; their anchors are those of the grid."""
        anchors = grid_anchors(memory.mask, memory.shapes)
        # As in the official code, unusable tokens become equal but may still be selected.
        unusable = anchors.isinf().any(-1, keepdim=True)
        tokens = self.norm(self.output(memory.tokens.masked_fill(unusable, 0.0)))
        return Proposals(tokens, self.class_head(tokens), anchors)

    def select(self, scores: Tensor, count: int) -> Tensor:
        """Indices (B, count) of the best scores (B, S), best first; all where there are fewer."""
        return scores.topk(min(count, scores.shape[1]), dim=1).indices


class ReferenceQueries(nn.Module):
    """Learnt queries whose position tells a reference point (sec. 4.1)."""

    def __init__(self, num_queries: int, hidden_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_queries, 2 * hidden_dim)
        self.reference = nn.Linear(hidden_dim, 2)
        nn.init.xavier_uniform_(self.reference.weight)
        nn.init.zeros_(self.reference.bias)

    def forward(self, memory: Memory) -> tuple[Queries, tuple[PredictionSet, ...]]:
        """Queries with 2-d anchors; the encoder predicts nothing."""
        learnt = self.embedding.weight.expand(len(memory.tokens), -1, -1)
        position, content = learnt.chunk(2, -1)
        groups = (QueryGroup("match", content.shape[1]),)
        # As boxes: half precision would move the points by up to two pixels of 800.
        points = in_float32(self.reference, position)
        return Queries(content, points, position, None, groups), ()


class ProposalQueries(nn.Module):
    """Queries made from the encoder's best boxes alone (sec. 4.2, two-stage)."""

    def __init__(self, proposals: TopProposals, num_queries: int, hidden_dim: int) -> None:
        super().__init__()
        self.proposals = proposals
        self.num_queries = num_queries
        self.num_frequencies = hidden_dim // 2
        self.projection = nn.Linear(2 * hidden_dim, 2 * hidden_dim)
        nn.init.xavier_uniform_(self.projection.weight)
        self.norm = nn.LayerNorm(2 * hidden_dim)

    def forward(self, memory: Memory) -> tuple[Queries, tuple[PredictionSet]]:
        """Queries in rank order, and the encoder's predictions for all tokens, of one class.

        As in the official code, the first class logit ranks the tokens and learns what an object
        is; the other logits of the encoder's head only learn background.
        """
        tokens, logits, grid = self.proposals.read(memory)
        boxes = self.proposals.box_head(tokens) + grid
        index = self.proposals.select(logits[..., 0], self.num_queries)
        anchors = gathered(boxes, index).detach()
        angle = anchors.sigmoid() * (2 * math.pi)
        code = interleaved_sine(angle, self.num_frequencies, 10000.0).flatten(-2)  # (B, Q, 2C)
        position, content = self.norm(self.projection(code.to(tokens.dtype))).chunk(2, -1)
        groups = (QueryGroup("match", index.shape[1]),)
        found = PredictionSet(ENCODER, logits, boxes.sigmoid(), class_agnostic=True)
        return Queries(content, anchors, position, None, groups), (found,)


class FixedReferences(nn.Module):
    """Boxes around points that no layer moves (sec. 4.1)."""

    def forward(
        self, heads: Heads, layer: int, content: Tensor, hidden: Tensor, anchors: Tensor
    ) -> Refined:
        """Anchors (B, Q, 2) stay; the points learn from all layers."""
        return Refined(boxes_around(anchors, heads.locate(layer, hidden)), anchors, anchors)


class IterativeRefinement(nn.Module):
    """Each layer refines the boxes of the one before (sec. 4.2).

    Args:
        eps: clamp of the inverse sigmoid on both sides; the DAB family has 1e-3.
    """

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(
        self, heads: Heads, layer: int, content: Tensor, hidden: Tensor, anchors: Tensor
    ) -> Refined:
        """Anchors (B, Q, 2 | 4) become this layer's boxes, without gradient."""
        boxes = boxes_around(anchors, heads.locate(layer, hidden), self.eps)
        return Refined(boxes, boxes.detach(), boxes.detach())


def boxes_around(anchors: Tensor, offsets: Tensor, eps: float = 1e-5) -> Tensor:
    """Add offsets (B, Q, 4) to anchors (B, Q, 2 | 4), all as logits; points have no size to add."""
    # The round trip keeps anchors within the clamp of the inverse sigmoid.
    start = inverse_sigmoid(anchors.sigmoid(), eps)
    return F.pad(start, (0, 4 - start.shape[-1])) + offsets


def start_small(box_head: MLP) -> None:
    """Let a head that adds to points start with boxes of sigmoid(-2) = 0.12 of the image."""
    nn.init.constant_(box_head.linears[-1].bias[2:], -2.0)


def object_rows(model: nn.Module) -> list[str]:
    """Tensors of a detector whose first row by class says of any object that it is one."""
    sources = [f"{n}." for n, each in model.named_modules() if isinstance(each, ProposalQueries)]
    return [f"{name}proposals.class_head.{end}" for name in sources for end in ("weight", "bias")]


def gathered(values: Tensor, index: Tensor) -> Tensor:
    """(B, S, C) at (B, Q) -> (B, Q, C)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))


@MODELS.register("deformable_detr", scores="sigmoid")
def deformable_detr(
    backbone: nn.Module,
    neck: Neck,
    num_classes: int,
    *,
    num_queries: Count = 300,
    encoder_layers: Whole = 6,
    decoder_layers: Count = 6,
    num_heads: Count = 8,
    num_points: Count = 4,
    feedforward_dim: Count = 1024,
    dropout: ShareBelowOne = 0.1,
    refine: bool = False,
    two_stage: bool = False,
) -> Detector:
    """Deformable DETR; `refine` moves boxes from layer to layer, `two_stage` starts from proposals.

    Raises:
        ValueError: no query, no decoder layer, or two stages without refinement.
    """
    check_counts(num_queries, decoder_layers)
    if two_stage and not refine:
        raise SettingError(
            "model.two_stage=true starts from boxes, which only refinement reads; "
            "add model.refine=true"
        )
    dim = neck.channels
    widths = DeformableWidths(
        dim, len(neck.strides), num_heads, num_points, feedforward_dim, dropout
    )
    heads = (
        LayerHeads(dim, num_classes, decoder_layers) if refine else SharedHeads(dim, num_classes)
    )
    if two_stage:
        # The encoder's heads are copies: they start equal to the decoder's and then learn alone.
        proposals = TopProposals(dim, *deepcopy(heads.first))
    else:
        start_small(heads.first[1])
    return Detector(
        backbone,
        neck,
        SinePosition(dim, offset=-0.5),
        DeformableEncoder([DeformableEncoderLayer(widths) for _ in range(encoder_layers)], widths),
        ProposalQueries(proposals, num_queries, dim)
        if two_stage
        else ReferenceQueries(num_queries, dim),
        Decoder(
            [DeformableDecoderLayer(widths) for _ in range(decoder_layers)],
            None,
            nn.Identity(),
            IterativeRefinement() if refine else FixedReferences(),
            heads,
        ),
    )
