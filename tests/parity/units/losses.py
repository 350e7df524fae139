"""`unit_loss_match_post`: focal loss, matchers, criterion and post-processing on given outputs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from detbox.boxes import to_cxcywh
from detbox.losses.focal import sigmoid_focal
from detbox.matchers.cost import per_image_costs
from detbox.postprocess import Postprocess
from detbox.registry import MATCHERS
from detbox.structures import (
    Detections,
    Origin,
    Outputs,
    PredictionSet,
    StepObjects,
    Targets,
)
from parity.losses import logged_of, of_image
from parity.recipe import criterion_from
from parity.replay import targets_of
from parity.ties import aligned_detections, aligned_matches

INPUTS = (
    *("focal.logits", "focal.targets", "match.pred_logits", "match.pred_boxes"),
    *("match.target.", "match_many.target.", "post.sizes_hw"),
)
TIE = 1e-6
SETTINGS = {"set_cost_class": 2.0, "set_cost_bbox": 5.0, "set_cost_giou": 2.0} | {
    "focal_alpha": 0.25,
    "cls_loss_coef": 1.0,
    "bbox_loss_coef": 5.0,
    "giou_loss_coef": 2.0,
}
BEFORE_SUPPRESSION = 60
"""detections per image where a suppression follows"""


def is_input(name: str) -> bool:
    """Whether a tensor is fed to our functions."""
    return name.startswith(INPUTS)


def ours(recorded: Mapping[str, Tensor], meta: Mapping[str, Any]) -> dict[str, Tensor]:
    """What our losses, matchers and post-processing give for the recorded outputs."""
    named: dict[str, Tensor] = {}
    for name in [each for each in recorded if re.fullmatch(r"focal\.alpha.*\.loss", each)]:
        named |= _focal(recorded, name.removesuffix(".loss"), meta["focal"])
    for prefix in ("match", "match_many", "minsum"):
        named |= _matches(recorded, prefix)
    for count in {name.split(".0.")[0] for name in recorded if name.startswith("crit.")}:
        named |= _criterion(recorded, f"{count}.0.")
    for variant in {name.split(".")[1] for name in recorded if ".image." in name[:20]}:
        if f"post.{variant}.image.0.boxes" in recorded:
            named |= _post(recorded, variant)
    return named


def _focal(
    recorded: Mapping[str, Tensor], prefix: str, meta: Mapping[str, float]
) -> dict[str, Tensor]:
    logits = recorded["focal.logits"].clone().requires_grad_()
    alpha = float(prefix.removeprefix("focal.alpha"))
    each = sigmoid_focal(logits, recorded["focal.targets"], alpha, meta["gamma"])
    # The official function takes the mean over queries; its caller multiplies by their number.
    loss = each.mean(1).sum() / meta["num_boxes"]
    (gradient,) = torch.autograd.grad(loss, logits)
    return {f"{prefix}.loss": loss, f"{prefix}.grad_logits": gradient}


def _predictions(recorded: Mapping[str, Tensor]) -> PredictionSet:
    return PredictionSet(
        Origin(0, "match"), recorded["match.pred_logits"], recorded["match.pred_boxes"]
    )


def _targets(recorded: Mapping[str, Tensor], prefix: str) -> Targets:
    return targets_of(recorded, "match_many.target." if prefix == "match_many" else "match.target.")


def _matches(recorded: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    matcher = MATCHERS.build({"name": "min_sum" if prefix == "minsum" else "hungarian"})
    targets, predictions = _targets(recorded, prefix), _predictions(recorded)
    (found,) = matcher([predictions], targets)
    (costs,) = per_image_costs(matcher.cost, [predictions], targets)
    named: dict[str, Tensor] = {}
    for image, cost in enumerate(costs):
        query, target = of_image(found, targets, image)
        key = f"{prefix}.image.{image}."
        named |= {f"{key}cost": torch.from_numpy(cost), f"{key}pred_idx": query}
        named[f"{key}tgt_idx"] = target
    return aligned_matches(recorded, named)


def _criterion(recorded: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    criterion, targets = criterion_from(SETTINGS), _targets(recorded, "match")
    count: Any = float(re.search(r"num_boxes([\d.]+)\.$", prefix)[1])
    predictions = _predictions(recorded)
    logits, boxes = (each.clone().requires_grad_() for each in predictions[1:3])
    outputs = Outputs(predictions._replace(logits=logits, boxes=boxes), ())
    terms = criterion(outputs, targets, StepObjects((count,)))
    gradients = torch.autograd.grad(torch.stack(list(terms.values())).sum(), (logits, boxes))
    ((each, found),) = criterion.match(outputs, targets)
    named = {
        f"loss_{loss}": terms[f"decoder0/match/{loss}"] / weight
        for loss, weight in criterion.weights.items()
    }
    named |= logged_of(each, targets, found, count)
    named |= {"grad_logits": gradients[0], "grad_boxes": gradients[1]}
    return {f"{prefix}{name}": value for name, value in named.items()}


def _post(recorded: Mapping[str, Tensor], variant: str) -> dict[str, Tensor]:
    predictions, sizes = _predictions(recorded), recorded["post.sizes_hw"]
    kept = len(recorded[f"post.{variant}.image.0.scores"])
    suppression = re.fullmatch(r"nms(\d\d)", variant)
    if suppression:
        postprocess = Postprocess(BEFORE_SUPPRESSION, int(suppression[1]) / 10)
    else:
        postprocess = Postprocess(kept)
    found = postprocess(predictions, sizes)
    if variant == "raw":
        found = [each._replace(boxes=to_cxcywh(each.boxes)) for each in found]
    elif variant == "xywh":
        found = [each._replace(boxes=_to_xywh(each)) for each in found]
    return aligned_detections(recorded, found, f"post.{variant}.image.", TIE)


def _to_xywh(found: Detections) -> Tensor:
    low, high = found.boxes.split(2, -1)
    return torch.cat((low, high - low), -1)
