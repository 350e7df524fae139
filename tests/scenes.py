"""Random boxes, targets and predictions for tests."""

from __future__ import annotations

import torch
from torch import Tensor

from detbox.boxes import to_cxcywh
from detbox.structures import Origin, PredictionSet, Targets

CLASSES = 4
FIRST = Origin(0, "match")


def random_boxes(*shape: int, seed: int = 0) -> Tensor:
    """Cxcywh boxes inside the image, (*shape, 4)."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(*shape, 2, 2, generator=generator).sort(-2).values
    return to_cxcywh(corners.flatten(-2))


def random_targets(*counts: int, seed: int = 1) -> Targets:
    """So many objects per image."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (sum(counts),), generator=generator)
    return Targets(labels, random_boxes(sum(counts), seed=seed), counts)


def random_predictions(
    images: int, queries: int, origin: Origin = FIRST, seed: int = 2
) -> PredictionSet:
    """Logits and boxes of every query."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, queries, CLASSES, generator=generator)
    return PredictionSet(origin, logits, random_boxes(images, queries, seed=seed))
