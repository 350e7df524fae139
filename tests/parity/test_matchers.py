"""Sinkhorn matching on costs and random draws that the JAX port of DETR recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from detbox.matchers.cost import SoftmaxBoxCost
from detbox.matchers.sinkhorn import cheapest, sorted_orders
from detbox.matchers.transport import PERIOD, Plan, Transport
from parity.report import Report
from parity.tolerances import Rule, Tolerance

BEFORE_MOMENTUM = Transport().momentum_from // PERIOD
RULES = (
    # Over-relaxation amplifies rounding: between float32 and float64 ours moves as far.
    Rule(r"relaxed\.coupling", Tolerance("absolute", 0.1)),
    Rule(r"relaxed\.(row|column)_potential", Tolerance("absolute", 0.02)),
    Rule(r"coupling|errors", Tolerance("absolute", 2e-4)),
    Rule(r"potential|cost$", Tolerance("absolute", 1e-5)),
    Rule(r"total", Tolerance("relative", 1e-5)),
)
INPUTS = ("pred_logits", "pred_boxes", "tgt_labels", "tgt_boxes", "n_cols", "sample_v")
PLAN = ("coupling", "potential_f", "potential_g", "errors", "converged")
"""what is recorded of a `Plan`"""
ORDERS = {
    "sinkhorn": "sinkhorn_indices",
    "hungarian": "hungarian_scipy",
    "hungarian_cover": "hungarian_cover_tpu",
}
"""assignment -> its recorded row and column indices"""
Named = dict[str, Tensor]


def test_every_tensor_of_the_matchers_is_reproduced(matcher_file: Path, report: Report) -> None:
    stored = np.load(matcher_file)
    for case in sorted({name.split("/")[0] for name in stored.files if "/" in name}):
        prefix = f"{case}/"
        own = {n.removeprefix(prefix): stored[n] for n in stored.files if n.startswith(prefix)}
        own = {name: torch.from_numpy(value) for name, value in own.items()}
        report.inputs += [prefix + name for name in own if name in INPUTS]
        recorded, ours = _recorded(own), _ours(own)
        answered = {*PLAN, *ORDERS.values()}
        recorded |= {name: value for name, value in own.items() if name not in answered}
        report.compare(_named(prefix, recorded), _named(prefix, ours), RULES)
    report.verify()


def _recorded(own: Named) -> Named:
    orders = {
        name: torch.stack([row[column.argsort()] for row, column in own[indices]])
        for name, indices in ORDERS.items()
    }
    return _plans(own, Plan(*(own[part] for part in PLAN))) | _rows(own, orders)


def _ours(own: Named) -> Named:
    cost = own["cost"]
    size = cost.shape[-1]
    plan = Transport()(cost, torch.full((size,), 1 / size))
    optimal = torch.from_numpy(np.stack([_optimal(each) for each in cost.numpy()]))
    rounded = cheapest(cost, sorted_orders(plan.coupling, own["sample_v"].to(cost.dtype)))
    orders = {"sinkhorn": rounded, "hungarian": optimal, "hungarian_cover": optimal}
    totals = {f"{name}_total": _total(cost, order) for name, order in orders.items()}
    return _plans(own, plan) | _rows(own, orders) | totals | {"cost": _cost(own)}


def _plans(own: Named, plan: Plan) -> Named:
    """The plan of each problem; couplings in shares of a row, errors until momentum sets in."""
    named: Named = {}
    for problem, errors in enumerate(own["errors"]):
        relaxed = int((errors >= 0).sum()) > BEFORE_MOMENTUM
        shown = slice(BEFORE_MOMENTUM if relaxed else None)
        each = Plan(*(part[problem] for part in plan))
        each = each._replace(coupling=each.coupling * len(each.coupling), errors=each.errors[shown])
        kind = f"{problem}.{'relaxed' if relaxed else 'plain'}"
        named |= {f"{kind}.{part}": value for part, value in each._asdict().items()}
    return named


def _rows(own: Named, orders: Named) -> Named:
    """Row of every column that costs something; those of padding are arbitrary."""
    size = own["cost"].shape[-1]
    counts = own["n_cols"].tolist() if "n_cols" in own else [size] * len(own["cost"])
    return {
        f"{problem}.{name}_rows": order[problem, :count].long()
        for name, order in orders.items()
        for problem, count in enumerate(counts)
    }


def _optimal(cost: np.ndarray) -> np.ndarray:
    """Row of each column, (N, N) -> (N,)."""
    row, column = linear_sum_assignment(cost)
    return row[column.argsort()]


def _total(cost: Tensor, order: Tensor) -> Tensor:
    """What it costs to take row `order[p, m]` for column m, (P, N, M) and (P, M) -> (P,)."""
    return cost.gather(1, order[:, None])[:, 0].sum(-1)


def _cost(own: Named) -> Tensor:
    """The cost of the recorded predictions, zero in columns of padding."""
    if "pred_logits" not in own:
        return own["cost"]
    labels = own["tgt_labels"].long()
    cost = SoftmaxBoxCost(eps=1e-6)(own["pred_logits"], own["pred_boxes"], labels, own["tgt_boxes"])
    present = torch.arange(cost.shape[-1]) < own["n_cols"][:, None]
    return torch.where(present[:, None], cost, 0.0)


def _named(prefix: str, tensors: Named) -> Named:
    return {prefix + name: value for name, value in tensors.items()}
