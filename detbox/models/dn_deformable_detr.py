"""DN-Deformable-DETR (Li et al., CVPR 2022, sec. 4.3): DAB-Deformable-DETR that denoises."""

from __future__ import annotations

from torch import nn

from detbox.layers.position import SinePosition
from detbox.models.dab_deformable_detr import ContentAnchors, ScaledAnchorPosition
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
from detbox.models.dn_detr import Denoiser, label_table, with_indicator
from detbox.models.heads import LayerHeads
from detbox.ranges import Count, NonNegative, Share, ShareBelowOne, Whole
from detbox.registry import MODELS
from detbox.structures import Memory, PredictionSet, Queries


class IndicatedAnchors(ContentAnchors):
    """Learnt anchors whose content ends in a 0: these queries are not denoised (sec. 3.5)."""

    def __init__(self, num_queries: int, hidden_dim: int) -> None:
        super().__init__(num_queries, hidden_dim - 1)

    def forward(self, memory: Memory) -> tuple[Queries, tuple[PredictionSet, ...]]:
        """The same queries for every image; the encoder predicts nothing."""
        queries, found = super().forward(memory)
        return queries._replace(content=with_indicator(queries.content, 0.0)), found


@MODELS.register("dn_deformable_detr", scores="sigmoid")
def dn_deformable_detr(
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
    denoising_groups: Whole = 5,
    label_noise: Share = 0.2,
    box_noise: NonNegative = 0.4,
) -> Detector:
    """DN-Deformable-DETR, also called DN-DAB-Deformable-DETR.

    Raises:
        ValueError: no query, no decoder layer, or no denoising group.
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
        IndicatedAnchors(num_queries, dim),
        Decoder(
            [DeformableDecoderLayer(widths) for _ in range(decoder_layers)],
            ScaledAnchorPosition(dim),
            nn.Identity(),
            IterativeRefinement(eps=1e-3),
            heads,
        ),
        Denoiser(label_table(num_classes, dim - 1), denoising_groups, label_noise, box_noise),
    )
