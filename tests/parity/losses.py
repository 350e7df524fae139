"""`match.*` and `loss.*`: our matches, our terms, and the quantities that are only logged."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from detbox.criterion import Criterion
from detbox.matchers.cost import CostMatcher, per_image_costs
from detbox.structures import Matches, PredictionSet, Targets
from parity.replay import Run

Pairs = list[tuple[PredictionSet, Matches]]


def loss_suffix(played: Run, predictions: PredictionSet) -> str:
    """What the official code hangs on a loss: nothing for the last layer, `_dn_0`, `_interm`."""
    place, denoised = played.place_of(predictions)
    last = f"layer.{played.last_layer}"
    part = "" if place == last else f"_{place.removeprefix('layer.')}"
    return f"_dn{part}" if denoised else part


@torch.no_grad()
def matches(played: Run, criterion: Criterion, targets: Targets, pairs: Pairs) -> dict[str, Tensor]:
    """Cost matrices and assignments of every matched set and image."""
    sets = [(each, found) for each, found in pairs if each.matches is None]
    assert isinstance(criterion.matcher, CostMatcher)
    costs = per_image_costs(criterion.matcher.cost, [each for each, _ in sets], targets)
    named: dict[str, Tensor] = {}
    for (each, found), by_image in zip(sets, costs, strict=True):
        for image, cost in enumerate(by_image):
            prefix = f"match.{played.place_of(each)[0]}.image.{image}"
            query, target = of_image(found, targets, image)
            named |= {
                f"{prefix}.cost": torch.from_numpy(cost),
                f"{prefix}.pred_idx": query,
                f"{prefix}.tgt_idx": target,
            }
    return named


def of_image(found: Matches, targets: Targets, image: int) -> tuple[Tensor, Tensor]:
    """Queries and targets of one image's pairs, targets counted within the image."""
    chosen = found.image == image
    return found.query[chosen], found.target[chosen] - targets.starts[image]


def terms(played: Run, criterion: Criterion, weighted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our terms without their weights, under official names."""
    named: dict[str, Tensor] = {}
    for each in played.outputs.all:
        suffix = loss_suffix(played, each)
        for loss, weight in criterion.weights.items():
            named[f"loss_{loss}{suffix}"] = weighted[f"{each.name}/{loss}"] / weight
    return named


def logged(played: Run, targets: Targets, pairs: Pairs) -> dict[str, Tensor]:
    """What the official code computes beside its losses, from our predictions and matches."""
    named: dict[str, Tensor] = {}
    for each, found in pairs:
        suffix = loss_suffix(played, each)
        values = logged_of(each, targets, found, max(1, sum(targets.counts)))
        named |= {f"{name}{suffix}": value for name, value in values.items()}
    return named


@torch.no_grad()
def logged_of(
    predictions: PredictionSet, targets: Targets, found: Matches, normalizer: float
) -> dict[str, Tensor]:
    """The logged quantities of one set; zero where the set does not count."""
    boxes = predictions.boxes[found.image, found.query]
    gap = (boxes - targets.boxes[found.target].to(boxes.dtype)).abs()
    share = 1 / (predictions.repeats * normalizer)
    counts = float(len(found.query) > 0 or not predictions.matched_only)
    return {
        "loss_xy": gap[:, :2].sum() * share,
        "loss_hw": gap[:, 2:].sum() * share,
        "cardinality_error": _cardinality_error(predictions, targets) * counts,
        "class_error": _class_error(predictions, targets, found),
    }


def absent(names: list[str], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Zeros for the denoising losses of a pass that denoises nothing, as the official code."""
    return {name: torch.zeros(()) for name in names if "_dn" in name and name not in ours}


def _cardinality_error(predictions: PredictionSet, targets: Targets) -> Tensor:
    """Difference of the object count and the queries whose best class is not the last one."""
    logits = predictions.logits
    found = (logits.argmax(-1) != logits.shape[-1] - 1).sum(1)
    return (found - torch.tensor(targets.counts)).abs().float().mean()


def _class_error(predictions: PredictionSet, targets: Targets, found: Matches) -> Tensor:
    """Share of matched queries with a wrong best class, in percent; 100 where none is matched."""
    if not len(found.query):
        return torch.tensor(100.0)
    best = predictions.logits[found.image, found.query].argmax(-1)
    return 100 - 100 * (best == targets.labels[found.target]).float().mean()
