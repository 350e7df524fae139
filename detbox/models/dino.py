"""DINO: DETR with improved denoising anchor boxes (Zhang et al., ICLR 2023)."""

from __future__ import annotations

from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from detbox.boxes import inverse_sigmoid, to_cxcywh, to_xyxy
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
from detbox.models.dn_detr import (
    Slots,
    flipped_labels,
    label_table,
    repeated_slots,
    scattered,
    with_denoising,
)
from detbox.models.heads import LayerHeads, SharedHeads
from detbox.ranges import Count, Finite, NonNegative, Positive, Share, ShareBelowOne, Whole
from detbox.registry import MODELS
from detbox.structures import ENCODER, Matches, Memory, PredictionSet, Queries, QueryGroup, Targets


class MixedQueries(nn.Module):
    """Learnt content at the encoder's best boxes: mixed query selection (sec. 3.4)."""

    def __init__(self, proposals: TopProposals, num_queries: int, hidden_dim: int) -> None:
        super().__init__()
        self.proposals = proposals
        self.content = nn.Embedding(num_queries, hidden_dim)
        nn.init.xavier_uniform_(self.content.weight)

    def forward(self, memory: Memory) -> tuple[Queries, tuple[PredictionSet]]:
        """Queries in rank order, and the encoder's own predictions for them."""
        best = self.proposals(memory, self.content.num_embeddings)
        batch, count = best.anchors.shape[:2]
        content = self.content.weight[:count].expand(batch, -1, -1)
        groups = (QueryGroup("match", count),)
        queries = Queries(content, best.anchors.detach(), None, None, groups)
        return queries, (PredictionSet(ENCODER, best.logits, best.anchors.sigmoid()),)


class NoiseDraws(NamedTuple):
    """The random numbers of one denoising step, one row per repeated target."""

    flip: Tensor
    """(N,) uniform: whether the label is replaced"""
    replacement: Tensor
    """(N,) uniform over classes"""
    sign: Tensor
    """(N, 4) 0 or 1: towards which side a corner coordinate moves"""
    magnitude: Tensor
    """(N, 4) uniform: how far"""


class ContrastiveDenoiser(nn.Module):
    """Noised targets to recover, and farther ones to reject (sec. 3.3).

    Args:
        num_classes: K.
        hidden_dim: C.
        num_denoising: pairs of queries that are shared out among the objects of the fullest image;
            below 50 it is half the number of groups instead, as in the official code.
        label_noise: twice the share of labels that are replaced.
        box_noise: 1 lets a corner of a positive move by half the box, of a negative by the whole.
    """

    def __init__(
        self,
        num_classes: int,
        hidden_dim: int,
        num_denoising: int = 100,
        label_noise: float = 0.5,
        box_noise: float = 1.0,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.num_denoising = num_denoising
        self.label_noise = label_noise
        self.box_noise = box_noise
        self.label_table = label_table(num_classes, hidden_dim)

    def forward(self, queries: Queries, targets: Targets) -> Queries:
        """Put the denoising queries before the matching ones."""
        groups = self.num_groups(targets)
        slots = repeated_slots(targets, 2 * groups)
        draws = self.draw(len(slots.target), targets.boxes)
        labels = flipped_labels(
            targets.labels[slots.target], draws.flip, draws.replacement, self.label_noise / 2
        )
        negative = (slots.query // slots.width) % 2 == 1
        boxes = self.noised(targets.boxes[slots.target], negative, draws)
        shape = (len(targets.counts), 2 * groups * slots.width)
        content = self.label_table(labels).to(queries.content.dtype)
        return with_denoising(
            queries,
            scattered(content, slots, *shape),
            scattered(inverse_sigmoid(boxes), slots, *shape),
            _positives(slots, groups),
            groups,
            # Without any object nothing is denoised: the empty slots only keep the graph whole.
            matched_only=not any(targets.counts),
        )

    def num_groups(self, targets: Targets) -> int:
        """How often every target is repeated, once as positive and once as negative."""
        most = max(targets.counts, default=0)
        queries = 2 * self.num_denoising
        if not most:
            return 1
        return max(1, queries // (2 * most) if queries >= 100 else queries)

    def draw(self, count: int, like: Tensor) -> NoiseDraws:
        """Fresh random numbers for `count` repeated targets on the device of `like`."""
        return NoiseDraws(
            flip=torch.rand(count, device=like.device),
            replacement=torch.randint(self.num_classes, (count,), device=like.device),
            sign=torch.randint(2, (count, 4), device=like.device).to(like.dtype),
            magnitude=torch.rand(count, 4, device=like.device, dtype=like.dtype),
        )

    def noised(self, boxes: Tensor, negative: Tensor, draws: NoiseDraws) -> Tensor:
        """Move the corners: positives by less than half a size, negatives by half to a whole one.

        Corners may cross; the inverse sigmoid clamps such a width, as in the official code.
        """
        reach = (draws.magnitude + negative[:, None]) * (2 * draws.sign - 1)
        half_size = boxes[:, 2:].repeat(1, 2) / 2
        corners = to_xyxy(boxes) + reach * half_size * self.box_noise
        return to_cxcywh(corners.clamp(0, 1))


def _positives(slots: Slots, groups: int) -> Matches:
    """Even repeats are positives and know their target."""
    image, query, target = (
        index.view(groups, 2, -1)[:, 0].flatten()
        for index in (slots.image, slots.query, slots.target)
    )
    return Matches(image, query, target)


@MODELS.register("dino", scores="sigmoid")
def dino(
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
    position_temperature: Positive = 20.0,
    position_offset: Finite = 0.0,
    share_heads: bool = True,
) -> Detector:
    """DINO with as many levels as the neck gives; 4-scale and 5-scale differ only there.

    Args:
        share_heads: one pair of heads for all decoder layers; otherwise one for each, as detrex.

    Raises:
        ValueError: no query, or no decoder layer.
    """
    check_counts(num_queries, decoder_layers)
    dim = neck.channels
    widths = DeformableWidths(
        dim, len(neck.strides), num_heads, num_points, feedforward_dim, dropout
    )
    heads: SharedHeads | LayerHeads = (
        SharedHeads(dim, num_classes)
        if share_heads
        else LayerHeads(dim, num_classes, decoder_layers)
    )
    # The encoder's heads are copies: they start equal to the decoder's and then learn alone.
    proposals = TopProposals(dim, *deepcopy(heads.first))
    return Detector(
        backbone,
        neck,
        SinePosition(dim, (position_temperature, position_temperature), position_offset),
        DeformableEncoder([DeformableEncoderLayer(widths) for _ in range(encoder_layers)], widths),
        MixedQueries(proposals, num_queries, dim),
        Decoder(
            [DeformableDecoderLayer(widths) for _ in range(decoder_layers)],
            AnchorPosition(dim),
            nn.LayerNorm(dim),
            LookForwardTwice(),
            heads,
        ),
        ContrastiveDenoiser(num_classes, dim, num_denoising, label_noise, box_noise)
        if num_denoising > 0
        else None,
    )
