"""The one pipeline of all variants: backbone, neck, encoder, query source, denoiser, decoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detbox.backbones.protocol import described
from detbox.errors import SettingError
from detbox.padding import padded
from detbox.structures import FeatureMap, ImageBatch, Memory, Outputs, Queries, Targets


class Neck(Protocol):
    """What a detector and its recipe read of a neck."""

    channels: int
    """of every map that it gives"""
    strides: tuple[int, ...]
    """of each map, in input pixels per cell"""
    size_divisor: int
    """pictures get padding to multiples of it; 1 where any size will do"""

    def __call__(self, maps: Sequence[Tensor]) -> Sequence[Tensor]:
        """Maps of any width -> maps of `channels`."""


class Detector(nn.Module):
    """A DETR-family detector assembled from parts; a recipe in this folder names them.

    Args:
        backbone: normalised pixels (B, 3, H, W) -> maps, fine to coarse; as `Backbone` says, or
            with channels and strides alone.
        neck: maps of any width -> maps of C channels.
        position: (B, h, w) mask -> (B, C, h, w) encoding of places.
        encoder: feature maps -> `Memory`.
        query_source: `Memory` -> `Queries` and the encoder's own prediction sets.
        decoder: `Queries`, `Memory` -> prediction sets, the one that inference reads last.
        denoiser: adds noised targets to the queries; only used where targets are given.
    """

    def __init__(
        self,
        backbone: nn.Module,
        neck: Neck,
        position: nn.Module,
        encoder: nn.Module,
        query_source: nn.Module,
        decoder: nn.Module,
        denoiser: Callable[[Queries, Targets], Queries] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.position = position
        self.encoder = encoder
        self.query_source = query_source
        self.decoder = decoder
        self.denoiser = denoiser
        own = described(backbone)
        self.mean, self.std = own.mean, own.std
        self.size_divisor = math.lcm(own.size_divisor, neck.size_divisor)
        self.least_side = max(own.strides)

    def forward(self, images: ImageBatch, targets: Targets | None = None) -> Outputs:
        """Predict; with `targets` also denoise them, as training does."""
        images = padded(images, self.size_divisor, self.least_side)
        maps = self.neck(self.backbone(normalized(images, self.mean, self.std)))
        memory: Memory = self.encoder(feature_maps(maps, images.mask, self.position))
        queries, proposals = self.query_source(memory)
        if targets is not None and self.denoiser is not None:
            queries = self.denoiser(queries, targets)
        *auxiliary, prediction = self.decoder(queries, memory)
        return Outputs(prediction, (*auxiliary, *proposals))


def check_counts(num_queries: int, decoder_layers: int) -> None:
    """Refuse a detector that cannot predict anything.

    Raises:
        ValueError: no query, or no decoder layer.
    """
    if num_queries < 1 or decoder_layers < 1:
        raise SettingError(
            "model.num_queries and model.decoder_layers must be at least 1, "
            f"got {num_queries} and {decoder_layers}"
        )


def normalized(images: ImageBatch, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Integer pixels with the mean and std of each colour taken out and zeros on the padding."""
    if images.pixels.is_floating_point():
        return images.pixels
    pixels = images.pixels.float() / 255
    shift, scale = (pixels.new_tensor(each).view(3, 1, 1) for each in (mean, std))
    return ((pixels - shift) / scale).masked_fill(images.mask[:, None], 0.0)


def feature_maps(
    maps: Sequence[Tensor], mask: Tensor, position: Callable[[Tensor], Tensor]
) -> list[FeatureMap]:
    """Give each map the image mask at its own size (nearest) and the encoding of its places."""
    return [
        FeatureMap(each, small, position(small).to(each.dtype))
        for each in maps
        for small in [shrunk_mask(mask, each.shape[-2:])]
    ]


def shrunk_mask(mask: Tensor, size: torch.Size) -> Tensor:
    """(B, H, W) -> (B, *size) by nearest neighbour, as the official code."""
    return F.interpolate(mask[:, None].float(), size=size)[:, 0].bool()
