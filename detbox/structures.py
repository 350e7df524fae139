"""The types that flow between stages; dimension letters mean the same everywhere.

B images · H W padded pixels · L levels · h w a level's size · S = sum of h*w tokens · C channels ·
Q queries · K classes · T target boxes in the whole batch · M matched pairs.

Boxes are cxcywh in [0, 1] of the unpadded image, anchors are logits of such boxes, masks are True
on padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

import torch
from torch import Tensor

from detbox.errors import DataError


class ImageBatch(NamedTuple):
    """Images of unequal size in one tensor, padded with zeros on the right and below.

    Integer pixels are raw RGB in 0..255; floating pixels are taken as already normalised.
    """

    pixels: Tensor
    """(B, 3, H, W)"""
    mask: Tensor
    """(B, H, W), True on padding"""

    def unpadded(self, image: int) -> Tensor:
        """One image without its padding, (3, h, w)."""
        inside = ~self.mask[image]
        height, width = int(inside[:, 0].sum()), int(inside[0].sum())
        return self.pixels[image, :, :height, :width]


class Targets(NamedTuple):
    """The objects of a batch, images one after the other."""

    labels: Tensor
    """(T,) in [0, K)"""
    boxes: Tensor
    """(T, 4) cxcywh, share of the unpadded image"""
    counts: tuple[int, ...]
    """objects per image; on the host, so that shapes never wait for the device"""

    @property
    def starts(self) -> tuple[int, ...]:
        """Position of each image's first object in the flat tensors."""
        return tuple(sum(self.counts[:image]) for image in range(len(self.counts)))

    def repeated(self, times: int) -> tuple[Targets, Tensor]:
        """Every image's objects so many times in a row, and where each came from, (times * T,)."""
        spans = zip(self.starts, self.counts, strict=True)
        places = [at for start, n in spans for _ in range(times) for at in range(start, start + n)]
        index = torch.tensor(places, dtype=torch.int64).to(self.labels.device, non_blocking=True)
        counts = tuple(times * count for count in self.counts)
        return Targets(self.labels[index], self.boxes[index], counts), index

    def of(self, image: int) -> tuple[Tensor, Tensor]:
        """Labels (n,) and boxes (n, 4) of one image."""
        own = slice(self.starts[image], self.starts[image] + self.counts[image])
        return self.labels[own], self.boxes[own]


class StepObjects(NamedTuple):
    """The objects that one optimizer step learns from in this process, over all its batches."""

    counts: tuple[int, ...]
    """of every picture that counts"""
    batches: int = 1
    """that the step's loss is a mean over"""
    whole: bool = False
    """True: counts and batches are of all processes, so that no other is asked"""


class Batch(NamedTuple):
    """What a loader yields."""

    images: ImageBatch
    targets: Targets
    image_ids: tuple[int, ...]
    """ids of the annotation file"""
    sizes: Tensor
    """(B, 2) original height, width in pixels, int64"""
    step: StepObjects | None = None
    """of the step that the batch is part of; None: the batch is a step of its own"""


class FeatureMap(NamedTuple):
    """One level of the pyramid."""

    tensor: Tensor
    """(B, C, h, w)"""
    mask: Tensor
    """(B, h, w), True on padding"""
    position: Tensor
    """(B, C, h, w)"""


class Memory(NamedTuple):
    """All levels as one token sequence, fine to coarse, row-major inside a level."""

    tokens: Tensor
    """(B, S, C)"""
    mask: Tensor
    """(B, S), True on padding"""
    position: Tensor
    """(B, S, C)"""
    shapes: tuple[tuple[int, int], ...]
    """(h, w) per level"""
    valid: Tensor
    """(B, L, 2) unpadded share of width and height"""


class Matches(NamedTuple):
    """Pairs of prediction and target: `boxes[image, query] ~ targets.boxes[target]`."""

    image: Tensor
    """(M,)"""
    query: Tensor
    """(M,)"""
    target: Tensor
    """(M,)"""

    def to(self, device: torch.device) -> Matches:
        """The same pairs on another device."""
        return Matches(*(index.to(device, non_blocking=True) for index in self))


class QueryGroup(NamedTuple):
    """A run of queries that share a purpose, such as matching or denoising."""

    name: str
    size: int
    matches: Matches | None = None
    """None: ask the matcher"""
    repeats: int = 1
    """how often every target is to be found; the group's loss terms are divided by it"""
    matched_only: bool = False
    """True: no loss sees the unmatched queries; else they are background"""


class Queries(NamedTuple):
    """What a query source hands to the decoder."""

    content: Tensor
    """(B, Q, C)"""
    anchors: Tensor
    """(B, Q, 2 | 4) logits"""
    position: Tensor | None
    """(B, Q, C), or None where the decoder derives it from the anchors"""
    blocked: Tensor | None
    """(Q, Q), True where a row may not attend to a column; None: all may"""
    groups: tuple[QueryGroup, ...]


class Origin(NamedTuple):
    """Where predictions come from."""

    layer: int | None
    """of the decoder, from 0; None: the encoder's own predictions"""
    group: str
    """name of the group of queries, its purpose: `match`, `denoise`, or `encoder`"""

    def __str__(self) -> str:
        """`decoder5/match`, `decoder0/denoise`, `encoder`."""
        return self.group if self.layer is None else f"decoder{self.layer}/{self.group}"


ENCODER = Origin(None, "encoder")


class PredictionSet(NamedTuple):
    """Predictions of one layer for one group of queries, to be matched or already matched."""

    origin: Origin
    logits: Tensor
    """(B, Q, K)"""
    boxes: Tensor
    """(B, Q, 4)"""
    matches: Matches | None = None
    """None: ask the matcher"""
    class_agnostic: bool = False
    """True: every target counts as class 0"""
    repeats: int = 1
    """how often every target is to be found; this set's loss terms are divided by it"""
    matched_only: bool = False
    """True: no loss sees the unmatched queries; else they are background"""
    pair_weights: Tensor | None = None
    """(M,) in (0, 1], how much each pair that the matcher found counts, in its class target and in
    its box losses; None: fully"""

    @property
    def name(self) -> str:
        """`decoder5/match`, `decoder0/denoise`, `encoder`."""
        return str(self.origin)

    @property
    def layer(self) -> int | None:
        """Of the decoder, from 0; None: the encoder's own."""
        return self.origin.layer

    @property
    def group(self) -> str:
        """`match`, `denoise` or `encoder`: the purpose of the queries, whatever the layer."""
        return self.origin.group


class Outputs(NamedTuple):
    """All predictions of one forward pass."""

    prediction: PredictionSet
    """what inference reads"""
    auxiliary: tuple[PredictionSet, ...]

    @property
    def all(self) -> tuple[PredictionSet, ...]:
        """The prediction and the auxiliary sets."""
        return (self.prediction, *self.auxiliary)


class Term(NamedTuple):
    """One weighted, normalised term of the loss."""

    origin: Origin
    """the prediction set that it is about"""
    loss: str
    """name of the loss"""
    value: Tensor
    """()"""
    final: bool
    """whether inference reads that set"""
    divisor: Tensor | None = None
    """() of this batch, where the loss brings one in place of the number of objects"""

    @property
    def name(self) -> str:
        """`decoder5/match/class`."""
        return f"{self.origin}/{self.loss}"


class StepOutputs(TypedDict):
    """What a training step hands to Lightning, and Lightning to callbacks."""

    loss: Tensor
    """() to be minimised; behind the step divided by the number of accumulated batches"""
    terms: tuple[Term, ...]
    """without gradient"""


class Normalized(NamedTuple):
    """A loss that brings its own divisor in place of the number of objects."""

    total: Tensor
    """() sum over the batch"""
    divisor: Tensor
    """()"""
    matched_weight: float
    """of a query with an object in the divisor"""
    other_weight: float
    """of a query without"""


class Detections(NamedTuple):
    """The objects found in one image, best first."""

    boxes: Tensor
    """(N, 4) xyxy, pixels of the original image"""
    scores: Tensor
    """(N,)"""
    labels: Tensor
    """(N,)"""
    names: tuple[str, ...] = ()
    """N class names where a `Predictor` made them, else empty"""


@dataclass(frozen=True)
class LabelSpace:
    """Classes of a data set: contiguous labels inside, ids and names at input and output."""

    names: tuple[str, ...]
    category_ids: tuple[int, ...]
    """ids of the annotation file, in label order"""

    def __len__(self) -> int:
        """Number of classes K."""
        return len(self.names)

    @classmethod
    def from_categories(cls, categories: Sequence[dict[str, Any]]) -> LabelSpace:
        """From COCO `categories`, in the order of their ids."""
        ordered = sorted(categories, key=lambda category: category["id"])
        ids = tuple(int(category["id"]) for category in ordered)
        if len(set(ids)) != len(ids):
            raise DataError(f"category ids must be unique, got {ids}; mend `categories`")
        return cls(tuple(str(category["name"]) for category in ordered), ids)

    def labels_in(self, other: LabelSpace) -> dict[int, int]:
        """Our label -> the other space's label, for every class that both have.

        A class is the same by id and name, or else by its name where that is unique on both sides;
        never by its id alone, since numbering differs between data sets.
        """
        pairs = {
            pair: i for i, pair in enumerate(zip(other.category_ids, other.names, strict=True))
        }
        alone = {name: i for i, name in enumerate(other.names) if other.names.count(name) == 1}
        found: dict[int, int] = {}
        for label, pair in enumerate(zip(self.category_ids, self.names, strict=True)):
            if pair in pairs:
                found[label] = pairs[pair]
            elif pair[1] in alone and self.names.count(pair[1]) == 1:
                found[label] = alone[pair[1]]
        return found

    def to_dict(self) -> dict[str, list[Any]]:
        """Plain containers, for a checkpoint."""
        return {"names": list(self.names), "category_ids": list(self.category_ids)}

    @classmethod
    def from_dict(cls, stored: dict[str, list[Any]]) -> LabelSpace:
        """Inverse of `to_dict`."""
        return cls(tuple(stored["names"]), tuple(stored["category_ids"]))
