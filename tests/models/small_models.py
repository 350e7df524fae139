"""Small detectors in which no cell of a map sees its neighbour, and what they are fed with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detbox import losses, matchers, models  # noqa: F401  (importing registers)
from detbox.boxes import to_cxcywh
from detbox.criterion import Criterion
from detbox.models.detector import Detector
from detbox.registry import LOSSES, MATCHERS, MODELS
from detbox.structures import ImageBatch, Memory, Outputs, PredictionSet, Queries, Targets

CLASSES = 5
WIDTH = 32


class CellMeans(nn.Module):
    """A backbone whose maps are the mean pixel of each cell, so that no cell sees its neighbour."""

    channels, strides = (3, 3), (8, 16)
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Two maps of three channels."""
        return tuple(F.avg_pool2d(pixels, stride, ceil_mode=True) for stride in self.strides)


class CellNeck(nn.Module):
    """A neck without norms or kernels: it keeps each cell to itself."""

    channels = WIDTH
    strides: tuple[int, ...] = (8, 16)
    size_divisor = 1

    def __init__(self) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Conv2d(3, WIDTH, 1) for _ in self.strides)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Each map by its own projection."""
        return tuple(project(x) for project, x in zip(self.projections, maps, strict=True))


class LastCellNeck(CellNeck):
    """The same neck for models that read a single level."""

    strides = (16,)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The last map."""
        return (self.projections[0](maps[-1]),)


def small(
    name: str, num_queries: int = 8, neck: type[CellNeck] = CellNeck, **settings: Any
) -> Detector:
    """A small detector whose weights are all random, also those that start at zero."""
    config = {"name": name, "num_queries": num_queries, "num_heads": 4, "feedforward_dim": 32}
    config |= {"encoder_layers": 1, "decoder_layers": 2, **settings}
    torch.manual_seed(0)
    detector = MODELS.build(config, CellMeans(), neck(), CLASSES)
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return detector


def criterion() -> Criterion:
    """DINO's losses."""
    by_name = {name: LOSSES.bind({"name": name}) for name in ("focal", "l1", "giou")}
    return Criterion(
        MATCHERS.build({"name": "hungarian"}), by_name, {"focal": 1.0, "l1": 5.0, "giou": 2.0}
    )


def images(*sizes: tuple[int, int]) -> ImageBatch:
    """Random normalised images of these sizes, padded to the largest."""
    height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
    pixels = torch.zeros(len(sizes), 3, height, width)
    mask = torch.ones(len(sizes), height, width, dtype=torch.bool)
    for image, (h, w) in enumerate(sizes):
        generator = torch.Generator().manual_seed(h * w)
        pixels[image, :, :h, :w] = torch.randn(3, h, w, generator=generator)
        mask[image, :h, :w] = False
    return ImageBatch(pixels, mask)


def objects(*counts: int) -> Targets:
    """Random objects, so many per image."""
    generator = torch.Generator().manual_seed(3)
    total = sum(counts)
    corners = torch.rand(total, 2, 2, generator=generator).sort(1).values.flatten(1)
    labels = torch.randint(CLASSES, (total,), generator=generator)
    return Targets(labels, to_cxcywh(corners), counts)


def total_loss(outputs: Outputs, targets: Targets) -> Tensor:
    """The sum of all terms."""
    return torch.stack(list(criterion()(outputs, targets).values())).sum()


def decoder_inputs(detector: Detector, batch: ImageBatch, targets: Targets) -> tuple:
    """What reaches the decoder in a training pass: queries and memory."""
    seen: list[tuple[Queries, Memory]] = []
    handle = detector.decoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    detector(batch, targets)
    handle.remove()
    return seen[0]


def by_name(sets: Sequence[PredictionSet]) -> dict[str, PredictionSet]:
    """Prediction sets by their names."""
    return {each.name: each for each in sets}


def same(first: PredictionSet, second: PredictionSet, tolerance: float = 1e-5) -> bool:
    """Whether two sets predict the same."""
    return torch.allclose(first.logits, second.logits, atol=tolerance) and torch.allclose(
        first.boxes, second.boxes, atol=tolerance
    )
