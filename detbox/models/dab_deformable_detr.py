"""DAB-Deformable-DETR (Liu et al., ICLR 2022, app. B): anchor boxes for deformable attention."""

from __future__ import annotations

from torch import Tensor, nn

from detbox.layers.mlp import MLP, xavier_matrices
from detbox.layers.position import SinePosition
from detbox.models.dab_detr import AnchorPosition
from detbox.models.decoder import Decoder
from detbox.models.deformable_detr import (
    DeformableDecoderLayer,
    DeformableEncoder,
    DeformableEncoderLayer,
    DeformableWidths,
    IterativeRefinement,
    start_small,
)
from detbox.models.detector import Detector, Neck, check_counts
from detbox.models.heads import LayerHeads
from detbox.ranges import Count, ShareBelowOne, Whole
from detbox.registry import MODELS
from detbox.structures import Memory, PredictionSet, Queries, QueryGroup


class ContentAnchors(nn.Module):
    """Learnt anchor boxes, each with learnt content.

    Args:
        num_queries: Q.
        content_dim: channels of the content, C.
    """

    def __init__(self, num_queries: int, content_dim: int) -> None:
        super().__init__()
        self.content = nn.Embedding(num_queries, content_dim)
        self.anchors = nn.Embedding(num_queries, 4)

    def forward(self, memory: Memory) -> tuple[Queries, tuple[PredictionSet, ...]]:
        """The same queries for every image; the encoder predicts nothing."""
        batch, groups = len(memory.tokens), (QueryGroup("match", self.anchors.num_embeddings),)
        content, anchors = (
            each.weight.expand(batch, -1, -1) for each in (self.content, self.anchors)
        )
        return Queries(content, anchors, None, None, groups), ()


class ScaledAnchorPosition(AnchorPosition):
    """Positions of anchor boxes, scaled by what the queries hold so far (sec. 4.3)."""

    def __init__(self, hidden_dim: int) -> None:
        super().__init__(hidden_dim)
        self.scale = MLP(hidden_dim, hidden_dim, hidden_dim, num_layers=2)
        xavier_matrices(self.scale)

    def forward(self, layer: int, queries: Queries, memory: Memory) -> Tensor:
        """Anchors (B, Q, 4) -> (B, Q, C); the first layer's queries hold nothing yet."""
        position = super().forward(layer, queries, memory)
        return position if layer == 0 else position * self.scale(queries.content)


@MODELS.register("dab_deformable_detr", scores="sigmoid")
def dab_deformable_detr(
    backbone: nn.Module,
    neck: Neck,
    num_classes: int,
    *,
    num_queries: Count = 300,
    encoder_layers: Whole = 6,
    decoder_layers: Count = 6,
    num_heads: Count = 8,
    num_points: Count = 4,
    feedforward_dim: Count = 2048,
    dropout: ShareBelowOne = 0.0,
) -> Detector:
    """DAB-Deformable-DETR, always with iterative refinement.

    Raises:
        ValueError: no query, or no decoder layer.
    """
    check_counts(num_queries, decoder_layers)
    dim = neck.channels
    widths = DeformableWidths(
        dim, len(neck.strides), num_heads, num_points, feedforward_dim, dropout
    )
    heads = LayerHeads(dim, num_classes, decoder_layers)
    start_small(heads.first[1])
    return Detector(
        backbone,
        neck,
        SinePosition(dim, offset=-0.5),
        DeformableEncoder([DeformableEncoderLayer(widths) for _ in range(encoder_layers)], widths),
        ContentAnchors(num_queries, dim),
        Decoder(
            [DeformableDecoderLayer(widths) for _ in range(decoder_layers)],
            ScaledAnchorPosition(dim),
            nn.Identity(),
            IterativeRefinement(eps=1e-3),
            heads,
        ),
    )
