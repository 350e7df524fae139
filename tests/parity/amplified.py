"""Full-size models whose last layers amplify float32 noise: DAB-DETR and DN-DETR on one map.

Their modulated attention divides by sides of anchors, and some of those are tiny: from the fourth
layer on, float32 and float64 runs of one and the same model differ by up to 0.6 in single queries.
So the first layers are held to the usual tolerance; the predictions of the later ones are judged
against a float64 replay, by the median over queries; and what is computed from those predictions,
losses, matches and detections, is computed from the recorded ones, to the usual tolerance.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from detbox.structures import ImageBatch, Origin, Outputs, PredictionSet
from parity import variant_names
from parity.full_names import detections, losses_and_matches
from parity.report import Report
from parity.tolerances import FULL_VARIANT, MEDIAN
from parity.variants import Variation, detection_rule, prepare, read, replay

STEADY = 3
"""layers that hold the usual tolerance"""
STACKED = ("out/pred_logits", "out/pred_boxes")


def is_amplified(file: Path) -> bool:
    """Whether a recording is of such a model."""
    return re.match(r"full_(dn_)?dab_detr", file.name) is not None


def compare(file: Path, report: Report) -> None:
    """Check every tensor of a recording, each in the way that its layer allows."""
    variation = prepare(read(file))
    recorded = variation.recorded
    ours = replay(variation)
    later = {name for name in recorded if _is_late(name, recorded) or name in STACKED}
    steady = {name: tensor for name, tensor in recorded.items() if name not in later}
    report.compare(steady, ours, FULL_VARIANT)
    first = {f"{name}[:{STEADY}]": recorded[name][:STEADY] for name in STACKED}
    report.compare(first, {f"{n}[:{STEADY}]": ours[n][:STEADY] for n in STACKED}, FULL_VARIANT)
    precise = _in_float64(prepare(read(file)))
    last = {f"{name}[{STEADY}:]": recorded[name][STEADY:] for name in STACKED}
    report.compare(last, {f"{n}[{STEADY}:]": precise[n][STEADY:] for n in STACKED}, MEDIAN)
    derived = {name: recorded[name] for name in later if name not in STACKED}
    report.compare(derived, _from_recorded(variation), FULL_VARIANT)


def _is_late(name: str, recorded: dict[str, Tensor]) -> bool:
    """Whether a tensor is computed from predictions of a later layer."""
    if match := re.match(r"match/layer(\d+)/", name):
        return int(match[1]) >= STEADY
    if name.startswith("loss/"):
        layer = re.search(r"_(\d+)$", name)
        return layer is None or int(layer[1]) >= STEADY
    return name == "loss_total" or name.startswith("post/")


def _in_float64(variation: Variation) -> dict[str, Tensor]:
    variation.detector.double()
    images = ImageBatch(variation.images.pixels.double(), variation.images.mask)
    played = replace(variation, images=images).run(None, "")
    return variant_names.outputs(played)


def _from_recorded(variation: Variation) -> dict[str, Tensor]:
    """Losses, matches and detections of the recorded predictions."""
    recorded = variation.recorded
    *auxiliary, last = (
        PredictionSet(Origin(layer, "match"), *each)
        for layer, each in enumerate(zip(*(recorded[n] for n in STACKED), strict=True))
    )
    with torch.no_grad():
        played = replace(variation.run(None, ""), outputs=Outputs(last, tuple(auxiliary)))
        _, named = losses_and_matches(played, variation.targets(), variation.criterion)
        return named | detections(played, recorded, detection_rule(variation))
