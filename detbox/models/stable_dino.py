"""Stable-DINO: detection transformer with stable matching (Liu et al., ICCV 2023).

Its loss and its matching are `criterion=stable` and `matcher=stable`, for any model.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from detbox.layers.grid import pixel_centers
from detbox.layers.position import SinePosition
from detbox.models.dab_detr import AnchorPosition, LookForwardTwice
from detbox.models.decoder import Decoder
from detbox.models.deformable_detr import (
    DeformableDecoderLayer,
    DeformableEncoder,
    DeformableEncoderLayer,
    DeformableWidths,
    TopProposals,
)
from detbox.models.detector import Detector, Neck, check_counts
from detbox.models.dino import ContrastiveDenoiser, MixedQueries, NoiseDraws
from detbox.models.heads import LayerHeads
from detbox.ranges import Count, NonNegative, Share, ShareBelowOne, Whole
from detbox.registry import MODELS
from detbox.structures import FeatureMap, Memory, Targets


class DenseFusion(nn.Module):
    """Mix the encoder's input and the output of all its layers, token by token."""

    def __init__(self, hidden_dim: int, num_layers: int) -> None:
        super().__init__()
        self.linear = nn.Linear((num_layers + 1) * hidden_dim, hidden_dim)
        self.norm = nn.LayerNorm(hidden_dim)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Input, first layer ... last layer, each (B, S, C) -> (B, S, C)."""
        output: Tensor = self.norm(self.linear(torch.cat(list(states), -1)))
        return output


class FusedEncoder(DeformableEncoder):
    """A deformable encoder whose memory holds all of its layers: dense memory fusion."""

    def __init__(self, layers: Sequence[DeformableEncoderLayer], widths: DeformableWidths) -> None:
        super().__init__(layers, widths)
        self.fusion = DenseFusion(widths.hidden_dim, len(layers))

    def forward(self, features: Sequence[FeatureMap]) -> Memory:
        """Feature maps of L levels -> refined and fused memory."""
        memory = self.flatten(features)
        references = pixel_centers(memory)
        states = [memory.tokens]
        for layer in self.layers:
            memory = layer(memory, references)
            states.append(memory.tokens)
        return memory._replace(tokens=self.fusion(states))


class UnshiftedDenoiser(ContrastiveDenoiser):
    """A denoiser whose negatives are no farther from the target than its positives.

    The paper does not say so: the official code sets the step of its negatives to none.
    """

    def num_groups(self, targets: Targets) -> int:
        """`num_denoising` pairs are shared out among the fullest image's objects, however few."""
        return max(1, self.num_denoising // max(1, *targets.counts))

    def noised(self, boxes: Tensor, negative: Tensor, draws: NoiseDraws) -> Tensor:
        """Move the corners of all by less than half a size."""
        return super().noised(boxes, torch.zeros_like(negative), draws)


@MODELS.register("stable_dino", scores="sigmoid")
def stable_dino(
    backbone: nn.Module,
    neck: Neck,
    num_classes: int,
    *,
    num_queries: Count = 900,
    encoder_layers: Whole = 6,
    decoder_layers: Count = 6,
    num_heads: Count = 8,
    num_points: Count = 4,
    feedforward_dim: Count = 2048,
    dropout: ShareBelowOne = 0.0,
    num_denoising: Whole = 100,
    label_noise: Share = 0.5,
    box_noise: NonNegative = 1.0,
) -> Detector:
    """Stable-DINO on as many levels as the neck gives.

    Raises:
        ValueError: no query, or no decoder layer.
    """
    check_counts(num_queries, decoder_layers)
    dim = neck.channels
    widths = DeformableWidths(
        dim, len(neck.strides), num_heads, num_points, feedforward_dim, dropout
    )
    heads = LayerHeads(dim, num_classes, decoder_layers)
    # The encoder's heads are copies: they start equal to the decoder's and then learn alone.
    proposals = TopProposals(dim, *deepcopy(heads.first))
    return Detector(
        backbone,
        neck,
        SinePosition(dim, offset=-0.5),
        FusedEncoder([DeformableEncoderLayer(widths) for _ in range(encoder_layers)], widths),
        MixedQueries(proposals, num_queries, dim),
        Decoder(
            [DeformableDecoderLayer(widths) for _ in range(decoder_layers)],
            AnchorPosition(dim),
            nn.LayerNorm(dim),
            LookForwardTwice(),
            heads,
        ),
        UnshiftedDenoiser(num_classes, dim, num_denoising, label_noise, box_noise)
        if num_denoising > 0
        else None,
    )
