"""DN-DETR: noised targets beside the matching queries speed up training (Li et al., CVPR 2022)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detbox.boxes import inverse_sigmoid
from detbox.errors import SettingError
from detbox.layers.position import SinePosition
from detbox.models.conditional_detr import ConditionalDecoderLayer
from detbox.models.dab_detr import (
    AnchorQueries,
    LookForwardTwice,
    ModulatedPosition,
    ScaledPositionEncoder,
)
from detbox.models.decoder import Decoder
from detbox.models.detector import Detector, Neck, check_counts
from detbox.models.detr import DenseEncoderLayer, DenseWidths, check_one_level
from detbox.models.heads import SharedHeads
from detbox.models.query_groups import with_group
from detbox.ranges import Count, NonNegative, Positive, Share, ShareBelowOne, Whole
from detbox.registry import MODELS
from detbox.structures import Matches, Queries, QueryGroup, Targets


class Slots(NamedTuple):
    """Where each repeated target sits among the denoising queries of its image."""

    image: Tensor
    """(R * T,)"""
    query: Tensor
    """(R * T,)"""
    target: Tensor
    """(R * T,) position in the flat targets"""
    width: int
    """slots per repeat, the largest object count, at least 1 so that the graph never changes"""


def repeated_slots(targets: Targets, repeats: int) -> Slots:
    """Lay out `repeats` copies of all targets: copy r of an image's object j is slot r * width + j.

    The copies follow each other in the flat order, each holding the whole batch.
    """
    width = max(1, *targets.counts)
    total = sum(targets.counts)
    counts = torch.tensor(targets.counts)
    image = torch.arange(len(targets.counts)).repeat_interleave(counts)
    place = torch.arange(total) - (counts.cumsum(0) - counts)[image]
    copy = torch.arange(repeats).repeat_interleave(total)
    flat = torch.arange(total).repeat(repeats)
    matches = Matches(image.repeat(repeats), copy * width + place.repeat(repeats), flat)
    return Slots(*matches.to(targets.labels.device), width)


def blocked_between_groups(count: int, group_size: int, device: torch.device) -> Tensor:
    """Attention mask (P, P) of P denoising queries: groups cannot peek at each other (sec. 3.4)."""
    group = torch.arange(count, device=device) // group_size
    return group[:, None] != group[None, :]


def with_denoising(
    queries: Queries,
    content: Tensor,
    anchors: Tensor,
    matches: Matches,
    groups: int,
    *,
    matched_only: bool,
) -> Queries:
    """Put P denoising queries of `groups` equal groups before the others (sec. 3.4).

    They see their own group and the matching queries, and nobody else sees them.
    """
    count = content.shape[1]
    blocked = blocked_between_groups(count, count // groups, content.device)
    group = QueryGroup("denoise", count, matches, groups, matched_only)
    return with_group(queries, content, anchors, group, blocked=blocked, sees=("match",))


def scattered(values: Tensor, slots: Slots, batch: int, num_slots: int) -> Tensor:
    """Values (R * T, C) at their slots of (B, P, C), zeros elsewhere."""
    empty = values.new_zeros(batch, num_slots, values.shape[-1])
    return empty.index_put((slots.image, slots.query), values)


def flipped_labels(labels: Tensor, flip: Tensor, replacement: Tensor, share: float) -> Tensor:
    """Replace a label where its uniform draw `flip` falls below `share` (sec. 3.3, label noise)."""
    return torch.where(flip < share, replacement, labels)


def label_table(num_classes: int, hidden_dim: int) -> nn.Embedding:
    """Content of a denoising query by class; the last row is the class of no object."""
    return nn.Embedding(num_classes + 1, hidden_dim)


def with_indicator(content: Tensor, indicator: float) -> Tensor:
    """Add a last channel, 1 on denoising and 0 on matching queries (sec. 3.5).

    (..., C - 1) -> (..., C).
    """
    return F.pad(content, (0, 1), value=indicator)


class UniformDraws(NamedTuple):
    """The random numbers of one denoising step, one row per repeated target."""

    flip: Tensor
    """(N,) uniform: whether the label is replaced"""
    replacement: Tensor
    """(N,) uniform over classes"""
    shift: Tensor
    """(N, 4) uniform: how far and where each coordinate of cxcywh moves"""


class Denoiser(nn.Module):
    """Noised targets to recover, beside the matching queries (sec. 3.3).

    The matching queries' content must end in an indicator 0, see `with_indicator`.

    Args:
        label_table: (K + 1, C - 1) content by class, see `label_table`; may be shared.
        num_groups: how often every target is repeated.
        label_noise: share of labels that are replaced.
        box_noise: 1 moves a centre by up to half the box and a side by up to its length.

    Raises:
        ValueError: no group.
    """

    def __init__(
        self,
        label_table: nn.Embedding,
        num_groups: int = 5,
        label_noise: float = 0.2,
        box_noise: float = 0.4,
    ) -> None:
        super().__init__()
        if num_groups < 1:
            raise SettingError(
                f"denoising needs at least one group, got {num_groups}; the paper has 5"
            )
        self.label_table = label_table
        self.num_groups = num_groups
        self.label_noise = label_noise
        self.box_noise = box_noise

    def forward(self, queries: Queries, targets: Targets) -> Queries:
        """Put the denoising queries before the matching ones; empty slots are never learnt.

        Where the matching queries start from points, so do these: the centres of the boxes.
        """
        slots = repeated_slots(targets, self.num_groups)
        draws = self.draw(len(slots.target), targets.boxes)
        labels = flipped_labels(
            targets.labels[slots.target], draws.flip, draws.replacement, self.label_noise
        )
        content = with_indicator(self.label_table(labels), 1.0).to(queries.content.dtype)
        boxes = self.noised(targets.boxes[slots.target], draws.shift)
        anchors = inverse_sigmoid(boxes)[:, : queries.anchors.shape[-1]]
        shape = (len(targets.counts), self.num_groups * slots.width)
        return with_denoising(
            queries,
            scattered(content, slots, *shape),
            scattered(anchors, slots, *shape),
            Matches(slots.image, slots.query, slots.target),
            # The official code divides by the objects of each rank, the criterion by their mean.
            self.num_groups,
            matched_only=True,
        )

    def draw(self, count: int, like: Tensor) -> UniformDraws:
        """Fresh random numbers for `count` repeated targets on the device of `like`."""
        num_classes = self.label_table.num_embeddings - 1
        return UniformDraws(
            flip=torch.rand(count, device=like.device),
            replacement=torch.randint(num_classes, (count,), device=like.device),
            shift=torch.rand(count, 4, device=like.device, dtype=like.dtype),
        )

    def noised(self, boxes: Tensor, shift: Tensor) -> Tensor:
        """Move the centres by up to half a size and scale the sides, cut to the image."""
        size = boxes[:, 2:]
        reach = torch.cat((size / 2, size), 1) * self.box_noise
        return (boxes + (2 * shift - 1) * reach).clamp(0, 1)


class NoObjectQueries(AnchorQueries):
    """Anchor queries whose content is the label of no object (sec. 3.5)."""

    def __init__(
        self, label_table: nn.Embedding, num_queries: int, hidden_dim: int, num_patterns: int
    ) -> None:
        super().__init__(num_queries, hidden_dim, num_patterns)
        self.label_table = label_table

    def content(self) -> Tensor:
        """What every query starts from, (1, C)."""
        return with_indicator(self.label_table.weight[-1:], 0.0)


@MODELS.register("dn_detr", scores="sigmoid")
def dn_detr(
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
    denoising_groups: Whole = 5,
    label_noise: Share = 0.2,
    box_noise: NonNegative = 0.4,
    position_temperature: Positive = 20.0,
) -> Detector:
    """DN-DETR on DAB-DETR (DN-DAB-DETR); a query of no object and of a class share one table.

    Raises:
        ValueError: no query, no decoder layer, no denoising group, or more than one level.
    """
    check_counts(num_queries, decoder_layers)
    check_one_level("dn_detr", neck)
    dim = neck.channels
    widths = DenseWidths(dim, num_heads, feedforward_dim, dropout, nn.PReLU)
    table = label_table(num_classes, dim - 1)
    return Detector(
        backbone,
        neck,
        SinePosition(dim, (position_temperature, position_temperature)),
        ScaledPositionEncoder([DenseEncoderLayer(widths) for _ in range(encoder_layers)], dim),
        NoObjectQueries(table, num_queries, dim, num_patterns),
        Decoder(
            [ConditionalDecoderLayer(widths, first=i == 0) for i in range(decoder_layers)],
            ModulatedPosition(dim),
            nn.LayerNorm(dim),
            LookForwardTwice(),
            SharedHeads(dim, num_classes),
        ),
        Denoiser(table, denoising_groups, label_noise, box_noise),
    )
