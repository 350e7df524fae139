"""DAB-DETR: dynamic anchor boxes are better queries (Liu et al., ICLR 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detbox.boxes import inverse_sigmoid
from detbox.errors import SettingError
from detbox.layers.grid import level_boxes
from detbox.layers.mlp import MLP, xavier_matrices
from detbox.layers.position import SinePosition, sine_embedding
from detbox.models.conditional_detr import ConditionalDecoderLayer, ConditionalPosition
from detbox.models.decoder import Decoder, Heads, Refined
from detbox.models.detector import Detector, Neck, check_counts
from detbox.models.detr import (
    DenseEncoder,
    DenseEncoderLayer,
    DenseWidths,
    check_one_level,
    flattened,
)
from detbox.models.heads import SharedHeads
from detbox.ranges import Count, Positive, ShareBelowOne, Whole
from detbox.registry import MODELS
from detbox.structures import FeatureMap, Memory, PredictionSet, Queries, QueryGroup


class ScaledPositionEncoder(DenseEncoder):
    """Scale the positions channel by channel by the tokens, anew for every layer.

    Only the official code has it.
    """

    def __init__(self, layers: Sequence[nn.Module], hidden_dim: int) -> None:
        super().__init__(layers)
        self.scale = MLP(hidden_dim, hidden_dim, hidden_dim, num_layers=2)
        xavier_matrices(self.scale)

    def forward(self, features: Sequence[FeatureMap]) -> Memory:
        """Feature maps -> refined memory, positions as they were."""
        memory = flattened(features)
        position = memory.position
        for layer in self.layers:
            scaled = position * self.scale(memory.tokens)
            memory = layer(memory._replace(position=scaled))
        return memory._replace(position=position)


class AnchorQueries(nn.Module):
    """Learnt anchor boxes without content of their own, each repeated for every pattern (sec. 4.2).

    Args:
        num_queries: anchors.
        hidden_dim: C.
        num_patterns: contents that every anchor is combined with, as Anchor DETR has them
            (Wang et al., AAAI 2022, sec. 3.2); 0: none.

    Raises:
        ValueError: fewer than no patterns.
    """

    def __init__(self, num_queries: int, hidden_dim: int, num_patterns: int = 0) -> None:
        super().__init__()
        if num_patterns < 0:
            raise SettingError(
                f"model.num_patterns must be at least 0, got {num_patterns}; 0 has no patterns"
            )
        self.hidden_dim = hidden_dim
        self.anchors = nn.Embedding(num_queries, 4)
        self.patterns = nn.Embedding(num_patterns, hidden_dim) if num_patterns else None
        if self.patterns is not None:
            xavier_matrices(self.patterns)

    def forward(self, memory: Memory) -> tuple[Queries, tuple[PredictionSet, ...]]:
        """The same queries for every image, pattern by pattern."""
        anchors, content = self.anchors.weight, self.content()
        if self.patterns is not None:
            count, patterns = len(anchors), self.patterns.weight
            anchors = anchors.repeat(len(patterns), 1)
            content = content + patterns.repeat_interleave(count, 0)
        shape = (len(memory.tokens), len(anchors), -1)
        groups = (QueryGroup("match", len(anchors)),)
        return Queries(content.expand(shape), anchors.expand(shape), None, None, groups), ()

    def content(self) -> Tensor:
        """What every query starts from, (1, C)."""
        return self.anchors.weight.new_zeros(1, self.hidden_dim)


class ModulatedPosition(nn.Module):
    """Codes of anchor boxes, whose width and height shape the attention (sec. 4.4)."""

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim
        self.mlp = MLP(2 * hidden_dim, hidden_dim, hidden_dim, num_layers=2)
        self.scale = MLP(hidden_dim, hidden_dim, hidden_dim, num_layers=2)
        self.size = MLP(hidden_dim, hidden_dim, 2, num_layers=2)
        xavier_matrices(self)

    def forward(self, layer: int, queries: Queries, memory: Memory) -> ConditionalPosition:
        """Anchors (B, Q, 4) -> codes (B, Q, C); the first layer has no content to scale by."""
        boxes = queries.anchors.sigmoid()
        code = sine_embedding(boxes, self.hidden_dim // 2)  # (B, Q, 2C) of y, x, w, h
        center = code[..., : self.hidden_dim]
        center = center * self.scale(queries.content) if layer else center
        size = self.size(queries.content).sigmoid() / boxes[..., 2:]  # (B, Q, 2) of w, h
        y, x = center.chunk(2, -1)
        sine = torch.cat((y * size[..., 1:], x * size[..., :1]), -1)
        return ConditionalPosition(self.mlp(code), sine)


class AnchorPosition(nn.Module):
    """Turn anchor boxes into query positions by a sine code and an MLP (sec. 4.2)."""

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.num_frequencies = hidden_dim // 2
        self.mlp = MLP(2 * hidden_dim, hidden_dim, hidden_dim, num_layers=2)
        for layer in self.mlp.linears:
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, layer: int, queries: Queries, memory: Memory) -> Tensor:
        """Anchors (B, Q, 4) -> (B, Q, C); boxes count as shares of the padded finest level."""
        boxes = level_boxes(queries.anchors, memory)[:, :, 0]
        waves = sine_embedding(boxes, self.num_frequencies).to(memory.tokens.dtype)
        position: Tensor = self.mlp(waves)
        return position


class LookForwardTwice(nn.Module):
    """Move anchors layer by layer and let them learn from the next layer's boxes (sec. 4.3).

    The official code lets them; DINO gives it the name (Zhang et al., ICLR 2023, sec. 3.5).
    """

    def forward(
        self, heads: Heads, layer: int, content: Tensor, hidden: Tensor, anchors: Tensor
    ) -> Refined:
        """Add offsets to the anchors, all as logits.

        Args:
            heads: gives offsets by `locate(layer, tokens)`.
            layer: index of the decoder layer.
            content: (B, Q, C) raw layer output, which moves the anchors.
            hidden: (B, Q, C) normed layer output, which gives the boxes.
            anchors: (B, Q, 4); their gradient reaches one layer back.

        Returns:
            Boxes of this layer and anchors of the next, each (B, Q, 4).
        """
        # The round trip keeps anchors within the clamp of the inverse sigmoid.
        start = inverse_sigmoid(anchors.sigmoid())
        # Only the first layer's anchors, where they are learnt, are moved with their gradient.
        moved = heads.locate(layer, content) + (start.detach() if layer else start)
        return Refined(heads.locate(layer, hidden) + start, moved, moved.detach())


@MODELS.register("dab_detr", scores="sigmoid")
def dab_detr(
    backbone: nn.Module,
    neck: Neck,
    num_classes: int,
    *,
    num_queries: Count = 300,
    num_patterns: Whole = 0,
    encoder_layers: Whole = 6,
    decoder_layers: Count = 6,
    num_heads: Count = 8,
    feedforward_dim: Count = 2048,
    dropout: ShareBelowOne = 0.0,
    position_temperature: Positive = 20.0,
) -> Detector:
    """DAB-DETR; with patterns it makes `num_queries * num_patterns` predictions.

    Raises:
        ValueError: no query, no decoder layer, or more than one feature level.
    """
    check_counts(num_queries, decoder_layers)
    check_one_level("dab_detr", neck)
    dim = neck.channels
    widths = DenseWidths(dim, num_heads, feedforward_dim, dropout, nn.PReLU)
    return Detector(
        backbone,
        neck,
        SinePosition(dim, (position_temperature, position_temperature)),
        ScaledPositionEncoder([DenseEncoderLayer(widths) for _ in range(encoder_layers)], dim),
        AnchorQueries(num_queries, dim, num_patterns),
        Decoder(
            [ConditionalDecoderLayer(widths, first=i == 0) for i in range(decoder_layers)],
            ModulatedPosition(dim),
            nn.LayerNorm(dim),
            LookForwardTwice(),
            SharedHeads(dim, num_classes),
        ),
    )
