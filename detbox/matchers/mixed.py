"""One-to-one matching at the end, several queries for each target before it (Align-DETR)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from detbox.matchers.cost import Cost, FocalBoxCost, Solve, assign, per_image_costs
from detbox.ranges import Count, NonNegative, Share
from detbox.registry import MATCHERS
from detbox.structures import Matches, PredictionSet, Targets


class MixedMatcher:
    """Match the last decoder layer one to one, all other sets one to several.

    Args:
        cost: as in `CostMatcher`.
        solve: cost matrix (Q, N) of one image -> matched queries and targets, one to one.
        candidates: queries of a target in the sets before the last.
    """

    def __init__(self, cost: Cost, solve: Solve, candidates: int) -> None:
        self.cost, self.solve, self.candidates = cost, solve, candidates

    @torch.no_grad()
    def __call__(self, sets: Sequence[PredictionSet], targets: Targets) -> list[Matches]:
        """One `Matches` per set; the costs are computed and copied once.

        Raises:
            RuntimeError: a cost is not finite, so the predictions have diverged.
        """
        layers = [each.origin.layer for each in sets]
        last = max((layer for layer in layers if layer is not None), default=None)
        return [
            assign(costs, targets, self.solve if layer == last else self.several)
            for layer, costs in zip(layers, per_image_costs(self.cost, sets, targets), strict=True)
        ]

    def several(self, costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Matched queries and targets of one image, (Q, N) -> two (M,).

        Targets never take more than half of the queries; where one each is more, one each. The
        official code also holds the following images of the batch to an image's limit.
        """
        queries, count = costs.shape
        times = max(1, min(self.candidates, queries // (2 * max(1, count))))
        query, column = self.solve(np.tile(costs, (1, times)))
        return query, column % max(1, count)


@MATCHERS.register("mixed", scores="sigmoid")
def mixed(
    *,
    candidates: Count = 2,
    class_weight: NonNegative = 2.0,
    l1_weight: NonNegative = 5.0,
    giou_weight: NonNegative = 2.0,
    alpha: Share = 0.25,
    gamma: NonNegative = 2.0,
    eps: NonNegative = 1e-6,
) -> MixedMatcher:
    """Hungarian matching of targets repeated `candidates` times, in the last layer of single ones.

    Cai et al., Align-DETR, 2023, mixed matching; the encoder's set counts as an early layer.
    """
    from scipy.optimize import linear_sum_assignment

    cost = FocalBoxCost(class_weight, l1_weight, giou_weight, alpha, gamma, eps)
    return MixedMatcher(cost, linear_sum_assignment, candidates)
