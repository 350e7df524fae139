"""DETR: end-to-end object detection with transformers (Carion et al., ECCV 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from detbox.errors import SettingError
from detbox.layers.attention import Attention
from detbox.layers.mlp import FeedForward, PreNormFeedForward
from detbox.layers.position import SinePosition
from detbox.models.decoder import Decoder, Heads, Refined
from detbox.models.detector import Detector, Neck, check_counts
from detbox.models.heads import SharedHeads
from detbox.ranges import Count, ShareBelowOne, Whole
from detbox.registry import MODELS
from detbox.structures import FeatureMap, Memory, PredictionSet, Queries, QueryGroup


class DenseWidths(NamedTuple):
    """Sizes that the layers of a dense transformer share."""

    hidden_dim: int
    num_heads: int
    feedforward_dim: int
    dropout: float
    activation: type[nn.Module] = nn.ReLU

    def attention(self) -> Attention:
        """Multi-head attention of these sizes."""
        return Attention(self.hidden_dim, self.num_heads, self.dropout)

    def feed_forward(self, kind: type[FeedForward] = FeedForward) -> FeedForward:
        """A feed-forward block of these sizes."""
        return kind(self.hidden_dim, self.feedforward_dim, self.dropout, self.activation())


class DenseEncoderLayer(nn.Module):
    """Self-attention over all tokens, then feed-forward, post-norm (app. A.3)."""

    block: ClassVar[type[FeedForward]] = FeedForward

    def __init__(self, widths: DenseWidths) -> None:
        super().__init__()
        self.attention = widths.attention()
        self.attention_norm = nn.LayerNorm(widths.hidden_dim)
        self.feed_forward = widths.feed_forward(self.block)
        self.dropout = nn.Dropout(widths.dropout)

    def forward(self, memory: Memory) -> Memory:
        """Refine the tokens."""
        tokens = self.attention_norm(memory.tokens + self.attended(memory.tokens, memory))
        return memory._replace(tokens=self.feed_forward(tokens))

    def attended(self, tokens: Tensor, memory: Memory) -> Tensor:
        """What self-attention adds to the tokens (B, S, C); only query and key know places."""
        query = tokens + memory.position
        update: Tensor = self.dropout(self.attention(query, query, tokens, memory.mask))
        return update


class PreNormEncoderLayer(DenseEncoderLayer):
    """The same layer with the norms before the blocks (official code, `--pre_norm`)."""

    block = PreNormFeedForward

    def forward(self, memory: Memory) -> Memory:
        """Refine the tokens."""
        tokens = memory.tokens + self.attended(self.attention_norm(memory.tokens), memory)
        return memory._replace(tokens=self.feed_forward(tokens))


class DenseEncoder(nn.Module):
    """Let all tokens attend to each other (sec. 3.2).

    Args:
        layers: `Memory` -> `Memory`.
        norm: of the last layer's tokens.
    """

    def __init__(self, layers: Sequence[nn.Module], norm: nn.Module | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = norm or nn.Identity()

    def forward(self, features: Sequence[FeatureMap]) -> Memory:
        """Feature maps -> refined memory."""
        memory = flattened(features)
        for layer in self.layers:
            memory = layer(memory)
        return memory._replace(tokens=self.norm(memory.tokens))


class LearnedQueries(nn.Module):
    """Queries told apart by a learnt position only; their content starts at zero (sec. 3.2)."""

    def __init__(self, num_queries: int, hidden_dim: int) -> None:
        super().__init__()
        self.position = nn.Embedding(num_queries, hidden_dim)

    def forward(self, memory: Memory) -> tuple[Queries, tuple[PredictionSet, ...]]:
        """The same queries for every image, at no place in particular."""
        position = self.position.weight.expand(len(memory.tokens), -1, -1)
        anchors = position.new_zeros((*position.shape[:2], 4))
        groups = (QueryGroup("match", position.shape[1]),)
        return Queries(torch.zeros_like(position), anchors, position, None, groups), ()


class DenseDecoderLayer(nn.Module):
    """Self-attention, attention to all tokens, feed-forward, post-norm (app. A.3)."""

    block: ClassVar[type[FeedForward]] = FeedForward

    def __init__(self, widths: DenseWidths) -> None:
        super().__init__()
        self.self_attention = widths.attention()
        self.self_norm = nn.LayerNorm(widths.hidden_dim)
        self.cross_attention = widths.attention()
        self.cross_norm = nn.LayerNorm(widths.hidden_dim)
        self.feed_forward = widths.feed_forward(self.block)
        self.dropout = nn.Dropout(widths.dropout)

    def forward(
        self,
        content: Tensor,
        position: Tensor,
        places: Tensor,
        memory: Memory,
        blocked: Tensor | None,
    ) -> Tensor:
        """(B, Q, C) -> (B, Q, C); places are not read."""
        content = self.self_norm(content + self.among_queries(content, position, blocked))
        content = self.cross_norm(content + self.from_memory(content, position, memory))
        output: Tensor = self.feed_forward(content)
        return output

    def among_queries(self, content: Tensor, position: Tensor, blocked: Tensor | None) -> Tensor:
        """What self-attention adds, (B, Q, C)."""
        query = content + position
        update: Tensor = self.dropout(self.self_attention(query, query, content, None, blocked))
        return update

    def from_memory(self, content: Tensor, position: Tensor, memory: Memory) -> Tensor:
        """What cross-attention adds, (B, Q, C)."""
        key = memory.tokens + memory.position
        found = self.cross_attention(content + position, key, memory.tokens, memory.mask)
        update: Tensor = self.dropout(found)
        return update


class PreNormDecoderLayer(DenseDecoderLayer):
    """The same layer with the norms before the blocks (official code, `--pre_norm`)."""

    block = PreNormFeedForward

    def forward(
        self,
        content: Tensor,
        position: Tensor,
        places: Tensor,
        memory: Memory,
        blocked: Tensor | None,
    ) -> Tensor:
        """(B, Q, C) -> (B, Q, C); places are not read."""
        content = content + self.among_queries(self.self_norm(content), position, blocked)
        content = content + self.from_memory(self.cross_norm(content), position, memory)
        output: Tensor = self.feed_forward(content)
        return output


class DirectBoxes(nn.Module):
    """Read boxes from the tokens alone; nothing is refined (sec. 3.2)."""

    def forward(
        self, heads: Heads, layer: int, content: Tensor, hidden: Tensor, anchors: Tensor
    ) -> Refined:
        """Boxes (B, Q, 4) as logits from the normed tokens `hidden` (B, Q, C)."""
        return Refined(heads.locate(layer, hidden), anchors, anchors)


class SoftmaxHeads(SharedHeads):
    """Shared heads with a last class for no object, both starting as plain linear layers."""

    def __init__(self, hidden_dim: int, num_classes: int) -> None:
        super().__init__(hidden_dim, num_classes + 1)
        self.class_head.reset_parameters()
        self.box_head.linears[-1].reset_parameters()


def flattened(features: Sequence[FeatureMap]) -> Memory:
    """Feature maps of L levels as one sequence of tokens."""
    return Memory(
        tokens=torch.cat([each.tensor.flatten(2).mT for each in features], 1),
        mask=torch.cat([each.mask.flatten(1) for each in features], 1),
        position=torch.cat([each.position.flatten(2).mT for each in features], 1),
        shapes=tuple((each.mask.shape[1], each.mask.shape[2]) for each in features),
        valid=torch.stack([valid_share(each.mask) for each in features], 1),
    )


def valid_share(mask: Tensor) -> Tensor:
    """Unpadded share of width and height, (B, h, w) -> (B, 2)."""
    valid = ~mask
    return torch.stack((valid[:, 0].float().mean(1), valid[:, :, 0].float().mean(1)), -1)


def check_one_level(model: str, neck: Neck) -> None:
    """Refuse a neck with several levels: dense attention costs the square of all tokens.

    Raises:
        ValueError: the neck gives more than one.
    """
    if len(neck.strides) != 1:
        raise SettingError(
            f"{model} reads one feature level, the neck gives {len(neck.strides)}; "
            "try neck=projection"
        )


@MODELS.register("detr", scores="softmax")
def detr(
    backbone: nn.Module,
    neck: Neck,
    num_classes: int,
    *,
    num_queries: Count = 100,
    encoder_layers: Whole = 6,
    decoder_layers: Count = 6,
    num_heads: Count = 8,
    feedforward_dim: Count = 2048,
    dropout: ShareBelowOne = 0.1,
    pre_norm: bool = False,
) -> Detector:
    """DETR, with the norms after the blocks as published or before them.

    Raises:
        ValueError: no query, no decoder layer, or more than one feature level.
    """
    check_counts(num_queries, decoder_layers)
    check_one_level("detr", neck)
    dim = neck.channels
    widths = DenseWidths(dim, num_heads, feedforward_dim, dropout)
    encoder_layer = PreNormEncoderLayer if pre_norm else DenseEncoderLayer
    decoder_layer = PreNormDecoderLayer if pre_norm else DenseDecoderLayer
    return Detector(
        backbone,
        neck,
        SinePosition(dim),
        DenseEncoder(
            [encoder_layer(widths) for _ in range(encoder_layers)],
            nn.LayerNorm(dim) if pre_norm else None,
        ),
        LearnedQueries(num_queries, dim),
        Decoder(
            [decoder_layer(widths) for _ in range(decoder_layers)],
            None,
            nn.LayerNorm(dim),
            DirectBoxes(),
            SoftmaxHeads(dim, num_classes),
        ),
    )
