"""How far a tensor may be from its recording, by name."""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
from torch import Tensor

from parity.statistics import statistics_of, unlikeness


class Tolerance(NamedTuple):
    """A measure of distance and its limit."""

    measure: str
    """exact, absolute, scaled, relative, deviation, median, norm or spread; see `distance`"""
    limit: float


class Rule(NamedTuple):
    """The tolerance of all tensors whose name holds a pattern."""

    pattern: str
    tolerance: Tolerance


EXACT = Tolerance("exact", 0.0)
TINY: tuple[Rule, ...] = (
    Rule(r"^module_fresh_init\..*proj\.weight$", Tolerance("spread", 1.0)),
    Rule(r"(^|[._])grad", Tolerance("norm", 1e-4)),
    Rule(r"^post\..*boxes$", Tolerance("scaled", 1e-6)),
    Rule(
        r"pred_boxes$|reference|valid_ratios|init_box_proposal|slot_box|iou$",
        Tolerance("absolute", 1e-6),
    ),
    Rule(r"loss|_error", Tolerance("relative", 1e-5)),
    Rule(r"", Tolerance("scaled", 1e-5)),
)
"""recordings of small models and single functions; the first hit counts"""

FULL: tuple[Rule, ...] = (
    Rule(r"^grad.*/backbone", Tolerance("norm", 2e-2)),
    Rule(r"^grad.*/(transformer\.(encoder|level)|input_proj)", Tolerance("norm", 1e-2)),
    Rule(r"^grad.*", Tolerance("norm", 1e-3)),
    Rule(r"cardinality_error", Tolerance("absolute", 1.0)),
    Rule(r"^loss|_error", Tolerance("relative", 1e-4)),
    Rule(r"^mid/enc_class_max", Tolerance("absolute", 5e-5)),
    Rule(r"^post/.*/boxes$", Tolerance("scaled", 3e-5)),
    Rule(r"boxes$|init_box_proposal", Tolerance("absolute", 3e-5)),
    Rule(r"logits", Tolerance("absolute", 2e-4)),
    Rule(r"", Tolerance("scaled", 2e-4)),
)
"""recordings of full-size models: float32 itself is no nearer to float64"""
VARIANT: tuple[Rule, ...] = (
    # One number that nearly cancels: float32 itself is 1e-3 away from float64.
    Rule(r"^grad/.*activation\.weight$", Tolerance("norm", 5e-3)),
    Rule(r"^grad", Tolerance("norm", 1e-3)),
    Rule(r"loss|_error", Tolerance("relative", 1e-4)),
    Rule(r"^post/.*boxes$", Tolerance("scaled", 2e-5)),
    Rule(r"boxes$|reference|input_query_bbox", Tolerance("absolute", 2e-5)),
    Rule(r"", Tolerance("absolute", 1e-4)),
)
"""recordings of small models of the family"""
FULL_VARIANT: tuple[Rule, ...] = (
    Rule(r"cardinality_error", Tolerance("absolute", 1.0)),
    Rule(r"^loss|_error", Tolerance("relative", 1e-4)),
    # The best scores lie close together; a sigmoid passes on a quarter of FULL's 2e-4 of logits.
    Rule(r"^post/.*/scores$", Tolerance("absolute", 5e-5)),
    Rule(r"", Tolerance("deviation", 1e-3)),
)
"""full-size models of the family"""
MEDIAN: tuple[Rule, ...] = (Rule(r"", Tolerance("median", 1e-3)),)
"""layers of full-size DAB-DETR and DN-DETR that amplify float32 noise, see `amplified`"""
PRECISE: tuple[Rule, ...] = (
    Rule(r"^grad", Tolerance("norm", 1e-6)),
    Rule(r"", Tolerance("relative", 1e-6)),
)
"""the same in float64"""


def tolerance_of(name: str, recorded: Tensor, rules: tuple[Rule, ...] = TINY) -> Tolerance:
    """The tolerance of a tensor: exact for integers and masks, else by its name."""
    if not recorded.is_floating_point():
        return EXACT
    return next(rule.tolerance for rule in rules if re.search(rule.pattern, name))


def distance(ours: Tensor, recorded: Tensor, measure: str) -> float:
    """How far `ours` is from `recorded`, infinite where the shapes differ.

    Args:
        ours: any shape.
        recorded: the same shape; equal infinities count as equal.
        measure: `exact`: number of unequal elements. `absolute`: largest difference. `scaled`: the
            same as a share of the largest recorded value, where that is above 1. `relative`: as a
            share of the recorded value. `deviation`: the same as a share of the recorded standard
            deviation. `median`: the same, but of the median query, (..., Q, C).
            `norm`: L2 norm of the difference as a share of L2 norm.
            `spread`: see `unlikeness`, for random values.

    Raises:
        KeyError: unknown measure.
    """
    if ours.shape != recorded.shape:
        return float("inf")
    if measure == "exact":
        return float((ours != recorded).sum())
    if measure == "spread":
        return unlikeness(statistics_of(ours), statistics_of(recorded), recorded.numel())
    gap, size = _gap(ours.detach().double(), recorded.double())
    if not gap.numel():
        return 0.0
    largest = float(size.max())
    return {
        "absolute": float(gap.max()),
        "scaled": float(gap.max()) / max(1.0, largest),
        "relative": float((gap / size.clamp(min=1e-12)).max()),
        "deviation": float(gap.max()) / max(float(recorded.std(correction=0)), 1e-9),
        "median": float(gap.amax(-1).median()) / max(float(recorded.std(correction=0)), 1e-9),
        "norm": float(gap.norm()) / max(float(size.norm()), 1e-9),
    }[measure]


def _gap(ours: Tensor, recorded: Tensor) -> tuple[Tensor, Tensor]:
    """Absolute difference and recorded size, zero where both are the same infinity."""
    same = torch.isinf(recorded) & (ours == recorded)
    gap = torch.where(same, 0.0, (ours - recorded).abs()).nan_to_num(nan=float("inf"))
    return gap, torch.where(same, 0.0, recorded.abs())
