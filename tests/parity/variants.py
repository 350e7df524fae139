"""Replay a recording of one model of the family: tensors of our passes under recorded names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from detbox import postprocess  # noqa: F401  (importing registers)
from detbox.criterion import Criterion
from detbox.models.detector import Detector
from detbox.official.state import load_official
from detbox.registry import BACKBONES, LOSSES, MATCHERS, MODELS, NECKS, POSTPROCESSES
from detbox.structures import ImageBatch, Targets
from parity import rule_weights, variant_names
from parity.feeder import feed
from parity.full_names import SPARE, cut, detections, gradients, losses_and_matches, whole
from parity.full_size import BACKBONE_OPTIONS, Recording, named_backbone, tensors_of
from parity.replay import Run, below, run, targets_of
from parity.variant_cases import Settings, Variant, variant_of

INPUTS = ("tgt/", "in/feat", "in/image", "in/target_sizes", "dn/draw", "dn_emptytgt/draw", "sd/")


def read(path: Path) -> Recording:
    """A recording with the settings of its `meta_json`."""
    stored = np.load(path)
    meta = json.loads(str(stored["meta_json"]))
    tensors = tensors_of(stored)
    if "grad_none_names" in stored:
        without = [name for name in stored["grad_none_names"].tolist() if name]
        tensors["grad_none"] = torch.tensor(len(without))
    return Recording(path, tensors, meta, {**meta, **meta.get("args", {})})


@dataclass
class Variation:
    """A recording and what it is replayed with."""

    recording: Recording
    variant: Variant
    detector: Detector
    criterion: Criterion
    images: ImageBatch
    initial: dict[str, Tensor]
    """`init/*` of the detector before it was filled"""

    @property
    def recorded(self) -> dict[str, Tensor]:
        """The recorded tensors."""
        return self.recording.tensors

    def targets(self) -> Targets:
        """The recorded objects."""
        return targets_of(self.recorded, "tgt/", "/")

    def run(self, targets: Targets | None, draws: str, index: Tensor | None = None) -> Run:
        """One pass; `targets` to denoise, with the draws below a prefix."""
        found = below(self.recorded, draws) if draws else {}
        return run(self.detector, self.images, targets, found, index)


def prepare(recording: Recording) -> Variation:
    """Build the detector and fill it with the weights of the recording, or with those by rule."""
    variant, tensors = variant_of(recording.path.stem), recording.tensors
    detector = build(variant, recording.settings, _backbone(recording, variant))
    initial = variant_names.initial(detector)
    rule = rule_weights.load_rule(recording.path.parent)
    weights = _stored_weights(recording) or rule_weights.by_rule(detector, rule, recording.meta)
    load_official(detector, weights)
    detector.train("train" in recording.meta["mode"])
    if "in/feat0" in tensors:
        images = _fed(detector, recording)
    else:
        images = ImageBatch(*rule_weights.images(rule, tensors["in/image_sizes"]))
    criterion = criterion_of(variant, recording)
    return Variation(recording, variant, detector, criterion, images, initial)


def build(variant: Variant, settings: Settings, backbone: nn.Module) -> Detector:
    """The detector of official settings around a backbone; random weights."""
    neck = NECKS.build(variant.neck(settings), backbone.channels, backbone.strides)
    return MODELS.build(variant.model(settings), backbone, neck, settings.get("num_classes", 91))


def published(stem: str) -> Detector:
    """The full-size detector of a list of names such as `dab_detr_r50`; random weights."""
    variant = variant_of(stem)
    backbone = next((name for name in BACKBONE_OPTIONS if stem.startswith(name)), "resnet50")
    return build(variant, variant.published(stem), named_backbone(backbone, variant.strides))


def criterion_of(variant: Variant, recording: Recording) -> Criterion:
    """Matcher and losses with the recorded weights, called as there."""
    settings, weights = recording.settings, recording.meta["weight_dict"]
    costs = {
        "class_weight": settings.get("set_cost_class", 2),
        "l1_weight": settings.get("set_cost_bbox", 5),
        "giou_weight": settings.get("set_cost_giou", 2),
    }
    by_name = {
        "ce": LOSSES.bind(variant.classification),
        "bbox": LOSSES.bind({"name": "l1"}),
        "giou": LOSSES.bind({"name": "giou", "eps": 0.0}),
    }
    named = {"ce": weights.get("loss_ce", weights.get("loss_class"))}
    named |= {name: weights[f"loss_{name}"] for name in ("bbox", "giou")}
    return Criterion(MATCHERS.build({**variant.matcher, **costs}), by_name, named)


def replay(variation: Variation) -> dict[str, Tensor]:
    """Every tensor that the recording may hold, gradients included."""
    recorded, targets = variation.recorded, variation.targets()
    denoises = "dn/pad_size" in recorded
    index = recorded.get("mid/topk_index")
    full = "grad_global_norm" not in recorded
    played = variation.run(targets if denoises else None, "dn/draw", index if full else None)
    with torch.no_grad():
        named = variant_names.outputs(played) | variant_names.middle(played, recorded)
    total, terms = losses_and_matches(played, targets, variation.criterion)
    named |= terms | detections(played, recorded, detection_rule(variation))
    if not full:
        named |= _emptied(variation, played if not denoises else None)
        named |= _evaluated(variation) if "out_eval/pred_logits" in recorded else {}
        named |= gradients(played, total, recorded) | variant_names.without_gradient(played)
    named |= variation.initial
    renamed = {
        variant_names.official(name, variation.recording.meta): each for name, each in named.items()
    }
    return {
        name: variant_names.laid_out(cut(name, renamed), recorded[name])
        for name in recorded
        if whole(name) in renamed
    }


def _emptied(variation: Variation, played: Run | None) -> dict[str, Tensor]:
    """The same with no object in the second image: `loss_emptytgt/*` and so on."""
    labels, boxes = variation.targets().of(0)
    targets = Targets(labels, boxes, (len(labels), 0))
    denoised = played is None
    if played is None:
        played = variation.run(targets, "dn_emptytgt/draw")
    total, terms = losses_and_matches(played, targets, variation.criterion)
    found = {**terms, **(variant_names.outputs(played) if denoised else {})}
    named = {
        re.sub(r"^(loss|dn|out)/", r"\1_emptytgt/", name): each.detach()
        for name, each in found.items()
    }
    return {**{n: e for n, e in named.items() if "_emptytgt/" in n}, "loss_emptytgt_total": total}


def _evaluated(variation: Variation) -> dict[str, Tensor]:
    """`out_eval/*`, a pass in evaluation mode."""
    training = variation.detector.training
    variation.detector.eval()
    with torch.no_grad():
        named = variant_names.outputs(variation.run(None, ""))
    variation.detector.train(training)
    return {f"out_eval/{name.removeprefix('out/')}": each for name, each in named.items()}


def detection_rule(variation: Variation) -> nn.Module:
    """The post-processing of a recording, with some detections to spare for ties."""
    settings = dict(variation.variant.postprocess)
    if settings["name"] == "top":
        settings["num_select"] = len(variation.recorded["post/0/scores"]) + SPARE
    return POSTPROCESSES.build(settings)


def _backbone(recording: Recording, variant: Variant) -> nn.Module:
    maps = below(recording.tensors, "in/feat")
    if not maps:
        return named_backbone(recording.settings["backbone"], variant.strides)
    width = recording.tensors["in/image_mask"].shape[-1]
    channels = [each.shape[1] for each in maps.values()]
    strides = [width // each.shape[-1] for each in maps.values()]
    return BACKBONES.build({"name": "feeder", "channels": channels, "strides": strides})


def _stored_weights(recording: Recording) -> dict[str, Tensor]:
    stored = below(recording.tensors, "sd/")
    aliases: Mapping[str, str] = recording.meta.get("aliases", {}) if stored else {}
    return {**stored, **{alias: stored[name] for alias, name in aliases.items()}}


def _fed(detector: Detector, recording: Recording) -> ImageBatch:
    maps, mask = below(recording.tensors, "in/feat"), recording.tensors["in/image_mask"]
    feed(detector, tuple(maps[str(level)] for level in range(len(maps))))
    return ImageBatch(torch.zeros(len(mask), 3, *mask.shape[1:]), mask)
