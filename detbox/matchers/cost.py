"""Costs of pairing predictions with targets, for all prediction sets of a step at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from detbox.boxes import pairwise_overlap, to_xyxy
from detbox.errors import DivergedError
from detbox.numerics import at_least_float32
from detbox.registry import CLASS_COSTS
from detbox.structures import Matches, PredictionSet, Targets


class BoxCost(ABC):
    """Class cost plus L1 and generalised IoU (DETR, sec. 3.1); a subclass knows the classes."""

    class_weight: float
    l1_weight: float
    giou_weight: float
    eps: float

    def __call__(self, logits: Tensor, boxes: Tensor, labels: Tensor, truth: Tensor) -> Tensor:
        """(B, Q, K), (B, Q, 4), (B, N), (B, N, 4) -> (B, Q, N)."""
        index = labels[:, None].expand(-1, logits.shape[1], -1)
        class_cost = self.of_classes(logits).gather(2, index)
        _, giou = pairwise_overlap(to_xyxy(boxes), to_xyxy(truth), self.eps)
        l1 = torch.cdist(boxes, truth, p=1)
        return self.class_weight * class_cost + self.l1_weight * l1 - self.giou_weight * giou

    @abstractmethod
    def of_classes(self, logits: Tensor) -> Tensor:
        """What each class costs, (B, Q, K)."""


@dataclass(frozen=True)
class SoftmaxBoxCost(BoxCost):
    """Minus the probability of the target's class, next to all others and no object (DETR).

    Args:
        class_weight: weight of that probability.
        l1_weight: weight of the L1 distance of cxcywh boxes.
        giou_weight: weight of the negative GIoU.
        eps: added to IoU and GIoU denominators.
    """

    class_weight: float = 1.0
    l1_weight: float = 5.0
    giou_weight: float = 2.0
    eps: float = 0.0

    def of_classes(self, logits: Tensor) -> Tensor:
        """What each class costs, (B, Q, K + 1)."""
        return -logits.softmax(-1)


@dataclass(frozen=True)
class FocalBoxCost(BoxCost):
    """Focal class cost plus L1 and generalised IoU (Deformable DETR, app. A.4).

    Args:
        class_weight: weight of the focal cost of the target's class.
        l1_weight: weight of the L1 distance of cxcywh boxes.
        giou_weight: weight of the negative GIoU.
        alpha: focal balance.
        gamma: focal exponent.
        eps: added to IoU and GIoU denominators.
    """

    class_weight: float = 2.0
    l1_weight: float = 5.0
    giou_weight: float = 2.0
    alpha: float = 0.25
    gamma: float = 2.0
    eps: float = 1e-6

    def of_classes(self, logits: Tensor) -> Tensor:
        """What each class costs, (B, Q, K)."""
        share = logits.sigmoid()
        positive = self.alpha * (1 - share) ** self.gamma * -(share + 1e-8).log()
        negative = (1 - self.alpha) * share**self.gamma * -(1 - share + 1e-8).log()
        return positive - negative


class CostSettings(NamedTuple):
    """What a matcher tells its class cost; `alpha` and `gamma` are of the focal one only."""

    class_weight: float
    l1_weight: float
    giou_weight: float
    alpha: float
    gamma: float
    eps: float


@CLASS_COSTS.register("softmax", scores="softmax")
def softmax(settings: CostSettings) -> SoftmaxBoxCost:
    """`matcher.class_cost=softmax`, of DETR."""
    return SoftmaxBoxCost(*settings[:3], settings.eps)


@CLASS_COSTS.register("focal", scores="sigmoid")
def focal(settings: CostSettings) -> FocalBoxCost:
    """`matcher.class_cost=focal`, of Deformable DETR and all after it."""
    return FocalBoxCost(*settings)


Cost = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Matcher = Callable[[Sequence[PredictionSet], Targets], list[Matches]]
Solve = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class CostMatcher:
    """Match all prediction sets of a step in one call, image by image.

    Args:
        cost: logits (B, Q, K), boxes (B, Q, 4), labels (B, N), boxes (B, N, 4) -> (B, Q, N).
        solve: cost matrix (Q, N) of one image -> matched queries and targets.
    """

    def __init__(self, cost: Cost, solve: Solve) -> None:
        self.cost = cost
        self.solve = solve

    @torch.no_grad()
    def __call__(self, sets: Sequence[PredictionSet], targets: Targets) -> list[Matches]:
        """One `Matches` per set.

        Raises:
            RuntimeError: a cost is not finite, so the predictions have diverged.
        """
        return [
            assign(costs, targets, self.solve)
            for costs in per_image_costs(self.cost, sets, targets)
        ]


def per_image_costs(
    cost: Cost,
    sets: Sequence[PredictionSet],
    targets: Targets,
) -> list[list[np.ndarray]]:
    """Cost matrices on the host, `[set][image]` of shape (queries, targets of the image).

    The sets are joined along the queries: one computation on the device and one copy to the host.

    Raises:
        RuntimeError: a cost is not finite, so the predictions have diverged.
    """
    joint = joint_costs(cost, sets, targets).cpu().numpy()
    if not np.isfinite(joint).all():
        raise DivergedError(
            "the matcher expected finite predictions, got NaN or infinity: training has diverged; "
            "go back to the last checkpoint with a lower optimizer.lr, or trainer.precision=32-true"
        )
    splits = np.cumsum([each.logits.shape[1] for each in sets])[:-1]
    return [
        [matrix[:, :count] for matrix, count in zip(part, targets.counts, strict=True)]
        for part in np.split(joint, splits, axis=1)
    ]


def joint_costs(cost: Cost, sets: Sequence[PredictionSet], targets: Targets) -> Tensor:
    """Costs (B, Q of all sets, N) on the device; columns beyond an image's count are arbitrary."""
    labels, truth = _padded(targets)
    # Float32 at least: bf16 rounds GIoU ties and makes the assignment depend on batch order.
    logits = at_least_float32(torch.cat([_columns(each) for each in sets], 1))
    boxes = at_least_float32(torch.cat([each.boxes for each in sets], 1))
    return cost(logits, boxes, labels, truth.to(boxes))


def assign(costs: Sequence[np.ndarray], targets: Targets, solve: Solve) -> Matches:
    """Solve each image's cost matrix and join the pairs as flat indices on the targets' device."""
    pairs = [
        (np.full_like(query, image), query, target + start)
        for image, (matrix, start) in enumerate(zip(costs, targets.starts, strict=True))
        for query, target in [solve(matrix)]
    ]
    flat = np.concatenate([np.stack(each) for each in pairs], axis=1).astype(np.int64)
    return Matches(*torch.from_numpy(flat)).to(targets.labels.device)


def _columns(predictions: PredictionSet) -> Tensor:
    """Logits whose column at any label is the one that counts for it."""
    logits = predictions.logits
    return logits[..., :1].expand_as(logits) if predictions.class_agnostic else logits


def _padded(targets: Targets) -> tuple[Tensor, Tensor]:
    """Labels (B, N) and boxes (B, N, 4), N the largest count; padding is class 0 of any box."""
    shape = (len(targets.counts), max(targets.counts, default=0))
    labels = targets.labels.new_zeros(shape)
    boxes = targets.boxes.new_full((*shape, 4), 0.5)
    start = 0
    for image, count in enumerate(targets.counts):
        labels[image, :count] = targets.labels[start : start + count]
        boxes[image, :count] = targets.boxes[start : start + count]
        start += count
    return labels, boxes
