"""Matching by entropic transport, on the device from the costs to the pairs.

The plan and its rounding by sorting are those of the JAX port of DETR.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from detbox.errors import SettingError
from detbox.matchers.cost import Cost, CostSettings, joint_costs
from detbox.matchers.transport import PERIOD, Plan, Transport
from detbox.ranges import Count, NonNegative, Positive, Share
from detbox.registry import CLASS_COSTS, MATCHERS
from detbox.structures import Matches, PredictionSet, Targets


class SinkhornMatcher:
    """Match all prediction sets of a step on their device; the host never waits for a value.

    Unlike the Hungarian matcher it cannot tell predictions that have diverged, and it may miss the
    cheapest assignment.

    Args:
        cost: as in `CostMatcher`.
        transport: solves the relaxed assignment.
        num_draws: attempts at rounding, the same at every step.
    """

    def __init__(self, cost: Cost, transport: Transport, num_draws: int = 100) -> None:
        self.cost = cost
        self.transport = transport
        self.num_draws = num_draws

    @torch.no_grad()
    def __call__(self, sets: Sequence[PredictionSet], targets: Targets) -> list[Matches]:
        """One `Matches` per set.

        Raises:
            ValueError: an image has more objects than there are queries.
        """
        sizes = [each.logits.shape[1] for each in sets]
        if max(targets.counts, default=0) > min(sizes):
            raise SettingError(
                f"the sinkhorn matcher expected at most {min(sizes)} objects per image, one per "
                f"query, got {max(targets.counts)}; try matcher=hungarian or more queries"
            )
        costs = torch.split(joint_costs(self.cost, sets, targets), sizes, 1)
        slots = _slots(targets)
        found: dict[int, Matches] = {}
        for size in set(sizes):
            alike = [index for index, each in enumerate(sizes) if each == size]
            queries = self._assigned(torch.stack([costs[index] for index in alike]), targets)
            for index, query in zip(alike, queries, strict=True):
                found[index] = slots._replace(query=query[slots.image, slots.query])
        return [found[index] for index in range(len(sets))]

    def _assigned(self, costs: Tensor, targets: Targets) -> Tensor:
        """Query of each target, (S, B, Q, N) -> (S, B, N)."""
        num_queries, most = costs.shape[2:]
        counts = torch.tensor(targets.counts).to(costs.device, non_blocking=True)
        absent = torch.arange(most, device=costs.device) >= counts[:, None]  # (B, N)
        costs = costs.masked_fill(absent[:, None], 0.0).flatten(0, 1)  # (P, Q, N)
        mass = costs.new_full((most,), 1 / num_queries)
        if num_queries > most:
            # One column stands for the port's padding to a square: its columns are all alike.
            costs, mass = F.pad(costs, (0, 1)), F.pad(mass, (0, 1), value=1 - most / num_queries)
        plan = self.transport(costs, mass)
        draws = rounding_draws(self.num_draws, num_queries, costs)
        # Where a plan splits one query the port's orders are wrong from there on, so add one more.
        orders = [
            sorted_orders(plan.coupling, draws)[..., :most],
            greedy_order(plan, costs, absent.repeat(len(costs) // len(absent), 1))[:, None],
        ]
        order = cheapest(costs[..., :most], torch.cat(orders, 1))
        return torch.unflatten(order, 0, (-1, len(targets.counts)))


def sorted_orders(coupling: Tensor, draws: Tensor) -> Tensor:
    """Round plans as the port does: sort the rows by the value that they receive, once per draw.

    Args:
        coupling: (P, N, M); the last of M <= N columns may stand for all that are left.
        draws: (D, P, N) ascending values of the columns, or (D, 1, N) for all problems.

    Returns:
        (P, D, M) row of each column.
    """
    last = coupling.shape[2] - 1
    values = torch.cat((draws[..., :last], draws[..., last:].mean(-1, keepdim=True)), -1)
    received = torch.einsum("pnm,dpm->pdn", coupling, values.expand(-1, len(coupling), -1))
    return received.argsort(-1)[..., : last + 1]


def greedy_order(plan: Plan, cost: Tensor, absent: Tensor) -> Tensor:
    """Round plans by taking the largest mass left between a free row and a free column.

    Args:
        plan: of P problems with N rows.
        cost: (P, N, M) or more columns.
        absent: (P, M), True for columns whose row does not matter.

    Returns:
        (P, M) row of each column.
    """
    width = absent.shape[1]
    # The logarithm of the mass, because most of the mass underflows to zero.
    left = plan.row_potential[:, :, None] + (plan.column_potential[:, None] - cost)
    left = left[..., :width].masked_fill(absent[:, None], -torch.inf)
    order = torch.zeros_like(absent, dtype=torch.int64)
    problem = torch.arange(len(order), device=order.device)
    for _ in range(width):
        best = left.flatten(1).argmax(1)
        row, column = best // width, best % width
        order[problem, column] = row
        left[problem, row] = -torch.inf
        left[problem, :, column] = -torch.inf
    return order


def cheapest(cost: Tensor, orders: Tensor) -> Tensor:
    """The cheapest of several orders: (P, N, M) and (P, D, M) rows of columns -> (P, M)."""
    best = cost.gather(1, orders).sum(-1).argmin(1)  # (P,)
    return orders[torch.arange(len(best), device=best.device), best]


def rounding_draws(count: int, size: int, like: Tensor) -> Tensor:
    """Ascending random values (count, 1, size), the same whenever they are asked for."""
    generator = torch.Generator(like.device).manual_seed(0)
    draws = torch.rand(count, 1, size, generator=generator, device=like.device, dtype=like.dtype)
    return draws.sort(-1).values


def _slots(targets: Targets) -> Matches:
    """Image, column within the image and flat index of every target."""
    slots = [
        (image, column, start + column)
        for image, (start, count) in enumerate(zip(targets.starts, targets.counts, strict=True))
        for column in range(count)
    ]
    flat = torch.tensor(slots, dtype=torch.int64).reshape(-1, 3)
    return Matches(*flat.unbind(1)).to(targets.labels.device)


@MATCHERS.register("sinkhorn", scores=CLASS_COSTS)
def sinkhorn(
    *,
    class_cost: str = "focal",
    class_weight: NonNegative = 2.0,
    l1_weight: NonNegative = 5.0,
    giou_weight: NonNegative = 2.0,
    alpha: Share = 0.25,
    gamma: NonNegative = 2.0,
    eps: NonNegative = 1e-6,
    epsilon: Positive = 1e-3,
    threshold: Positive = 1e-3,
    iterations: Count = 1000,
    num_draws: Count = 100,
) -> SinkhornMatcher:
    """Sinkhorn matching on class, L1 and GIoU cost.

    The port's threshold is 1e-2, which at 900 queries is the mass of nine of them.

    Raises:
        ValueError: fewer iterations than are made between two looks at the error, or no draw.
    """
    if iterations < PERIOD or num_draws < 1:
        raise SettingError(
            f"matcher.iterations must be at least {PERIOD} and matcher.num_draws at least 1, "
            f"got {iterations} and {num_draws}"
        )
    settings = CostSettings(class_weight, l1_weight, giou_weight, alpha, gamma, eps)
    cost = CLASS_COSTS.build({"name": class_cost}, settings)
    transport = Transport(epsilon, threshold=threshold, iterations=iterations)
    return SinkhornMatcher(cost, transport, num_draws)
