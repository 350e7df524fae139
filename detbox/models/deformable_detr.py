"""Parts of Deformable DETR (Zhu et al., ICLR 2021) that later papers build on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from detbox.layers.deformable_attention import DeformableAttention
from detbox.layers.mlp import MLP, FeedForward
from detbox.ops.reference import level_sizes
from detbox.structures import FeatureMap, Memory


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
        self.level_embed = nn.Parameter(torch.randn(widths.num_levels, widths.hidden_dim))

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
        position = [
            feature.position.flatten(2).mT + embed
            for feature, embed in zip(features, self.level_embed, strict=True)
        ]
        return Memory(
            tokens=torch.cat([feature.tensor.flatten(2).mT for feature in features], 1),
            mask=torch.cat([feature.mask.flatten(1) for feature in features], 1),
            position=torch.cat(position, 1),
            shapes=tuple((each.mask.shape[1], each.mask.shape[2]) for each in features),
            valid=torch.stack([valid_share(feature.mask) for feature in features], 1),
        )


class DeformableDecoderLayer(nn.Module):
    """Self-attention among queries, deformable cross-attention, feed-forward, post-norm."""

    def __init__(self, widths: DeformableWidths) -> None:
        super().__init__()
        dim = widths.hidden_dim
        self.self_attention = nn.MultiheadAttention(
            dim, widths.num_heads, widths.dropout, batch_first=True
        )
        nn.init.xavier_uniform_(self.self_attention.out_proj.weight)
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
        update, _ = self.self_attention(
            query, query, content, attn_mask=blocked, need_weights=False
        )
        content = self.self_norm(content + self.dropout(update))
        update = self.cross_attention(content + position, level_boxes(anchors, memory), memory)
        content = self.cross_norm(content + self.dropout(update))
        return self.feed_forward(content)


class Proposals(NamedTuple):
    """The tokens that a two-stage model starts its queries from, best first."""

    tokens: Tensor
    """(B, Q, C)"""
    logits: Tensor
    """(B, Q, K)"""
    anchors: Tensor
    """(B, Q, 4) logits of the predicted boxes, with gradient"""


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
        """Keep `num_queries` tokens by their best class logit; all where there are fewer."""
        anchors = grid_anchors(memory.mask, memory.shapes)
        # As in the official code, unusable tokens become equal but may still be selected.
        unusable = anchors.isinf().any(-1, keepdim=True)
        tokens = self.norm(self.output(memory.tokens.masked_fill(unusable, 0.0)))
        logits = self.class_head(tokens)
        index = self.select(logits.amax(-1), min(num_queries, tokens.shape[1]))
        tokens, logits, anchors = (gathered(each, index) for each in (tokens, logits, anchors))
        return Proposals(tokens, logits, self.box_head(tokens) + anchors)

    def select(self, scores: Tensor, count: int) -> Tensor:
        """Indices (B, count) of the best scores (B, S), best first."""
        return scores.topk(count, dim=1).indices


def gathered(values: Tensor, index: Tensor) -> Tensor:
    """(B, S, C) at (B, Q) -> (B, Q, C)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))


def level_boxes(anchors: Tensor, memory: Memory) -> Tensor:
    """Anchors as shares of every padded level: (B, Q, 2 | 4) logits -> (B, Q, L, 2 | 4)."""
    places = anchors.sigmoid()
    valid = memory.valid.repeat(1, 1, places.shape[-1] // 2)
    return places[:, :, None] * valid[:, None]


def valid_share(mask: Tensor) -> Tensor:
    """Unpadded share of width and height, (B, h, w) -> (B, 2)."""
    valid = ~mask
    return torch.stack((valid[:, 0].float().mean(1), valid[:, :, 0].float().mean(1)), -1)


def pixel_centers(memory: Memory) -> Tensor:
    """Each token's centre as x, y shares of every padded level, (B, S, L, 2) (app. A.4)."""
    extents = (memory.valid * level_sizes(memory.shapes, memory.valid)).unbind(1)
    centers = [
        cell_centers(shape, memory.tokens.device) / extent[:, None]
        for shape, extent in zip(memory.shapes, extents, strict=True)
    ]
    return torch.cat(centers, 1)[:, :, None] * memory.valid[:, None]


def cell_centers(shape: tuple[int, int], device: torch.device) -> Tensor:
    """x, y of the centres of a level's cells, in cells, row-major: (h * w, 2)."""
    rows, columns = (torch.arange(n, dtype=torch.float32, device=device) + 0.5 for n in shape)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack((x, y), -1).flatten(0, 1)


def grid_anchors(mask: Tensor, shapes: Sequence[tuple[int, int]], scale: float = 0.05) -> Tensor:
    """One square anchor per token, `scale * 2**level` wide (app. A.4).

    Args:
        mask: (B, S), True on padding.
        shapes: (h, w) per level.
        scale: width on the finest level, as a share of the unpadded image.

    Returns:
        (B, S, 4) logits; infinity where padded or nearer than 0.01 to the border of [0, 1].
    """
    anchors = []
    masks = mask.split([height * width for height, width in shapes], 1)
    for level, (shape, part) in enumerate(zip(shapes, masks, strict=True)):
        valid = ~part.unflatten(1, shape)
        extent = torch.stack((valid[:, 0].sum(1), valid[:, :, 0].sum(1)), -1)[:, None]  # (B, 1, 2)
        center = cell_centers(shape, mask.device) / extent
        anchors.append(torch.cat((center, torch.full_like(center, scale * 2.0**level)), -1))
    boxes = torch.cat(anchors, 1)
    unusable = ~((boxes > 0.01) & (boxes < 0.99)).all(-1) | mask
    return torch.log(boxes / (1 - boxes)).masked_fill(unusable[..., None], torch.inf)
