"""Full-size models from the real registries, on weights by rule."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from detbox.build import build_detector, compose
from detbox.models.detector import Detector
from detbox.registry import BACKBONES
from detbox.structures import ImageBatch
from parity import rule_weights
from parity.recipe import detector_from
from parity.replay import Run, below, run, targets_of

BACKBONE_OPTIONS = {
    "resnet50": ["backbone=resnet50"],
    "swin_L_384_22k": ["backbone=swin_l"],
    "mpvit_small": ["backbone=mpvit_small"],
    "coat_lite_small": ["backbone=coat_lite_small"],
    "coat_small": ["backbone=coat_small"],
    "convnext_xlarge_22k": ["backbone=convnext_l", "backbone.model=convnext_xlarge.fb_in22k"],
}
"""official backbone -> options that compose ours"""


@dataclass
class Recording:
    """A full-size file: tensors, and what it was made with."""

    path: Path
    tensors: dict[str, Tensor]
    meta: dict[str, Any]
    settings: dict[str, Any]

    @property
    def training(self) -> bool:
        """Whether it holds a training pass."""
        return "grad_global_norm" in self.tensors


def read(path: Path) -> Recording:
    """Read a file; a training pass takes its settings from the evaluation file beside it.

    Raises:
        FileNotFoundError: the evaluation file is not there.
    """
    stored = np.load(path)
    tensors = tensors_of(stored)
    meta = json.loads(str(stored["meta_json"]))
    tensors |= _numbers(meta)
    if "args" in meta:
        return Recording(path, tensors, meta, meta["args"])
    partner = path.with_name(path.name.replace("_train", ""))
    settings = json.loads(str(np.load(partner)["meta_json"]))["args"]
    changed = {key: meta[key] for key in meta if key in settings and key.startswith("dn_")}
    return Recording(path, tensors, meta, settings | changed)


def tensors_of(stored: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """The arrays of a file as tensors, without its strings."""
    return {
        name: torch.from_numpy(stored[name]) for name in stored if stored[name].dtype.kind != "U"
    }


def _numbers(meta: Mapping[str, Any]) -> dict[str, Tensor]:
    """What the description holds of numbers: how many gradients there are, and their norms."""
    norms = meta.get("grad_norms", {}).items()
    named = {f"grad_norm/{name}": torch.tensor(norm) for name, norm in norms if norm is not None}
    if "n_params_with_grad" in meta:
        named["grad_count"] = torch.tensor(meta["n_params_with_grad"])
    return named


def full_detector(settings: Mapping[str, Any]) -> Detector:
    """The detector of a recording with its real backbone; random weights."""
    return detector_from(settings, real_backbone(settings))


def real_backbone(settings: Mapping[str, Any]) -> nn.Module:
    """The backbone of a recording, composed as for training; random weights."""
    strides = [2 ** (index + 2) for index in settings["return_interm_indices"]]
    return named_backbone(settings["backbone"], strides)


def named_backbone(name: str, strides: Sequence[int]) -> nn.Module:
    """The backbone of an official name, composed as for training; random weights."""
    wanted = f"backbone.strides={list(strides)}"
    options = [*BACKBONE_OPTIONS[name], wanted, "backbone.pretrained=false"]
    if not name.startswith("resnet"):
        options.append("backbone.drop_path=0")
    return BACKBONES.build(compose(*options).backbone)


def tiny_detector(backbone: str) -> Detector:
    """A detector of one layer each, around a backbone of this name; random weights."""
    options = [f"backbone={backbone}", "backbone.pretrained=false", "neck.hidden_dim=32"]
    options += [f"model.{part}=1" for part in ("encoder_layers", "decoder_layers")]
    return build_detector(compose(*options, "model.num_heads=4"), num_classes=3)


def replay(recording: Recording, dtype: torch.dtype = torch.float32) -> Run:
    """One pass on images by rule, going on with the recorded tokens."""
    rule = rule_weights.load_rule(recording.path.parent)
    detector = full_detector(recording.settings)
    rule_weights.fill(detector, rule, recording.meta)
    detector.train(recording.training).to(dtype)
    tensors = recording.tensors
    pixels, mask = rule_weights.images(rule, tensors["in/image_sizes"])
    targets = targets_of(tensors, "tgt/", "/")
    draws = below(tensors, "dn/draw_") if recording.training else {}
    if recording.training:
        targets = targets._replace(boxes=targets.boxes.to(dtype))
    with torch.set_grad_enabled(recording.training):
        return run(
            detector,
            ImageBatch(pixels.to(dtype), mask),
            targets if recording.training else None,
            draws,
            tensors["mid/topk_index"],
        )
