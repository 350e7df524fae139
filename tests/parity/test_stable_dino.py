"""Stable-DINO's loss, matching and memory fusion on recorded predictions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

import detbox
from detbox.matchers.cost import FocalBoxCost, per_image_costs
from detbox.models.stable_dino import DenseFusion
from detbox.registry import MATCHERS
from detbox.structures import ENCODER, Matches, Origin, Outputs, PredictionSet, Targets
from parity.losses import of_image
from parity.replay import below, present, targets_of
from parity.report import Report

INPUTS = (
    *("in.", "in_dn.", "target.", "match_unique_labels.target."),
    *("fusion.list.", "fusion.linear.", "fusion.norm."),
)
LAST = 2
VARIANTS = {
    "default": (),
    "alpha05": ("criterion.losses.class.score_power=0.5",),
    "post_sin": ("criterion.losses.class.curve=sin",),
    "post_exp": ("criterion.losses.class.curve=exp",),
    "plain_focal": (
        *("criterion=focal", "criterion.weights.class=6"),
        "+criterion.group_weights.denoise.class=1",
    ),
}
"""recorded variant of the loss -> our settings"""
TERMS = {"class": "class", "l1": "bbox", "giou": "giou"}


def test_every_tensor_of_stable_dino_is_reproduced(stable_file: Path, report: Report) -> None:
    recorded = load_file(stable_file)
    meta = json.loads((stable_file.parent / f"{stable_file.stem}.meta.json").read_text())
    report.inputs += [name for name in recorded if name.startswith(INPUTS)]
    ours = _matching(recorded, meta) | {"fusion.out": _fused(recorded)}
    for variant in VARIANTS:
        ours |= _losses(recorded, meta, variant)
    report.compare(recorded, ours)
    report.compare(*_scalars(meta, ours))
    report.verify()


def _fused(recorded: Mapping[str, Tensor]) -> Tensor:
    states = list(below(recorded, "fusion.list.").values())
    fusion = DenseFusion(states[0].shape[-1], len(states) - 1)
    own = {name: recorded[f"fusion.{name}"] for name in fusion.state_dict()}
    fusion.load_state_dict(own)
    return fusion(states)


@torch.no_grad()
def _matching(recorded: Mapping[str, Tensor], meta: Mapping[str, Any]) -> dict[str, Tensor]:
    """Costs and assignments of the last layer's predictions."""
    named: dict[str, Tensor] = {}
    predictions = _set(recorded, f"in.layer.{LAST}", Origin(LAST, "match"))
    for name in {re.sub(r"\.image\..*|\.target\..*", "", n) for n in recorded if n[:5] == "match"}:
        given = re.search(r"cec_beta(.*)", name)
        # The official code takes a power below zero for "leave the scores as they are".
        power = max(0.0, float(given[1])) if given else meta["matcher"]["cec_beta"]
        targets = targets_of(recorded, _targets_prefix(name))
        matcher = MATCHERS.build({"name": "stable", "position_power": power})
        (found,) = matcher([predictions], targets)
        (costs,) = per_image_costs(
            FocalBoxCost(), [matcher.modulated(predictions, targets)], targets
        )
        for image, cost in enumerate(costs):
            query, target = of_image(found, targets, image)
            key = f"{name}.image.{image}"
            # Ours has -GIoU where the official cost has 1 - GIoU.
            named |= {f"{key}.cost": torch.from_numpy(cost) + meta["matcher"]["cost_giou"]}
            named |= {f"{key}.pred_idx": query, f"{key}.tgt_idx": target}
    return named


def _targets_prefix(name: str) -> str:
    return f"{name}.target." if name == "match_unique_labels" else "target."


def _losses(
    recorded: Mapping[str, Tensor], meta: Mapping[str, Any], variant: str
) -> dict[str, Tensor]:
    targets = targets_of(recorded, "target.")
    outputs = _outputs(recorded, meta, targets)
    criterion = detbox.build_criterion(detbox.compose("model=stable_dino", *VARIANTS[variant]))
    terms = criterion(outputs, targets)
    total = torch.stack(list(terms.values())).sum()
    total.backward()
    named = {f"loss_total.{variant}": total}
    for each in outputs.all:
        for loss, official in TERMS.items():
            value = terms[f"{each.name}/{loss}"] / criterion.weight_of(each, loss)
            name = f"{variant}.loss_{official}{_suffix(each)}"
            named[f"loss.{name}"] = value
            named[f"weight.{name}"] = torch.tensor(criterion.weight_of(each, loss))
        place = _place(each)
        named[f"grad.{variant}.{place}.pred_logits"] = present(each.logits.grad)
        named[f"grad.{variant}.{place}.pred_boxes"] = present(each.boxes.grad)
    return named


def _outputs(recorded: Mapping[str, Tensor], meta: Mapping[str, Any], targets: Targets) -> Outputs:
    groups, width = meta["dn"]["dn_num"], meta["dn"]["single_padding"]
    positives = _positives(targets, groups, width)
    layers = range(LAST + 1)
    match = [_set(recorded, f"in.layer.{n}", Origin(n, "match")) for n in layers]
    denoise = [
        _set(recorded, f"in_dn.layer.{n}", Origin(n, "denoise"))._replace(
            matches=positives, repeats=groups
        )
        for n in layers
    ]
    return Outputs(match[LAST], (*match[:LAST], *denoise, _set(recorded, "in.enc", ENCODER)))


def _positives(targets: Targets, groups: int, width: int) -> Matches:
    """The first half of each group's slots holds the targets."""
    rows = [
        (image, group * width + place, start + place)
        for group in range(groups)
        for image, (count, start) in enumerate(zip(targets.counts, targets.starts, strict=True))
        for place in range(count)
    ]
    return Matches(*torch.tensor(rows).T)


def _set(recorded: Mapping[str, Tensor], place: str, origin: Origin) -> PredictionSet:
    logits, boxes = (recorded[f"{place}.pred_{part}"].clone() for part in ("logits", "boxes"))
    return PredictionSet(origin, logits.requires_grad_(), boxes.requires_grad_())


def _place(predictions: PredictionSet) -> str:
    layer, group = predictions.origin
    if layer is None:
        return "enc"
    return f"{'dn_' if group == 'denoise' else ''}layer.{layer}"


def _suffix(predictions: PredictionSet) -> str:
    """What the official code hangs on a loss: nothing for the last layer, `_dn_0`, `_enc`."""
    place = _place(predictions)
    part = place.replace("layer.", "").replace("dn_", "")
    layer = "" if part == str(LAST) else f"_{part}"
    return f"_dn{layer}" if place.startswith("dn_") else layer


def _scalars(
    meta: Mapping[str, Any], ours: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Losses and weights of the meta file, and ours."""
    recorded, found = {}, {}
    for variant in VARIANTS:
        for name, value in meta[variant].items():
            key = f"loss_total.{variant}" if name == "total" else f"loss.{variant}.{name}"
            recorded[f"meta.{key}"], found[f"meta.{key}"] = torch.tensor(value), ours[key]
    for name, value in meta["weight_dict"].items():
        key = f"weight.default.{name}"
        if "_dn_enc" not in name:  # the encoder is never denoised
            recorded[f"meta.{key}"], found[f"meta.{key}"] = torch.tensor(value), ours[key]
    return recorded, found
