"""One row per family of backbones: how its recordings' tensors are called here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from detbox.build import compose
from detbox.registry import BACKBONES

STRIDES = (4, 8, 16, 32)
SHRUNK = "mpvit_shrunk"


@dataclass(frozen=True)
class Family:
    """Backbones whose recordings look alike.

    Args:
        pattern: at the start of their names.
        options: that compose ours.
        maps: recorded names of the maps that ours returns, fine to coarse.
        inner: recorded name of another tensor -> our module that gives it.
        strides: of the maps.
        prefix: of official names in our detectors, before those of the list.
        without: listed names that no forward pass reads, or that are computed.
    """

    pattern: str
    options: tuple[str, ...]
    maps: tuple[str, ...]
    inner: Mapping[str, str] = field(default_factory=dict)
    strides: Sequence[int] = STRIDES
    prefix: str = ""
    without: str = r"(?!)"


class Listed(NamedTuple):
    """One tensor of a list of names."""

    name: str
    shape: tuple[int, ...]
    rule_name: str
    """by which the rule gives its value"""
    floating: bool


def family_of(stem: str) -> Family:
    """The row of a backbone.

    Raises:
        KeyError: there is none.
    """
    for family in FAMILIES:
        if re.match(family.pattern, stem):
            return family
    raise KeyError(f"no backbone known for {stem}; add a row to {__name__}")


def build(family: Family, listed: Sequence[Listed]) -> Any:
    """Ours, composed as for training; random weights. Its class depends on the family."""
    options = [*family.options, f"backbone.strides={list(family.strides)}"]
    if family.pattern == SHRUNK:
        options += _mpvit_options(listed)
    return BACKBONES.build(compose(*options, "backbone.pretrained=false").backbone)


def read(path: Path) -> list[Listed]:
    """A list of names, in its authors' layout; kernels of JAX as PyTorch orders them."""
    return [_entry(row) for row in json.loads(path.read_text())]


def _entry(row: Mapping[str, Any]) -> Listed:
    if "flax_path" in row:
        return Listed(row["flax_path"], tuple(row["torch_shape"]), row["rule_name"], True)
    floating = getattr(torch, str(row["dtype"]).removeprefix("torch.")).is_floating_point
    return Listed(row["name"], tuple(row["shape"]), row["canonical"], floating)


def _mpvit_options(listed: Sequence[Listed]) -> list[str]:
    """Widths and depths of a small MPViT, told by its shapes."""
    shapes = {each.name: each.shape for each in listed}
    blocks = [
        re.match(r"mhca_stages\.(\d)\.mhca_blks\.(\d)\.MHCA_layers\.(\d)\.mlp\.fc1\.weight", name)
        for name in shapes
    ]
    found = [(b[0], int(b[1]), int(b[2]), int(b[3])) for b in blocks if b]
    stages = range(1 + max(stage for _, stage, _, _ in found))
    depths = [1 + max(layer for _, s, _, layer in found if s == stage) for stage in stages]
    paths = [1 + max(path for _, s, path, _ in found if s == stage) for stage in stages]
    inner, width = shapes[found[0][0]]
    widths = [next(shapes[name][1] for name, s, _, _ in found if s == stage) for stage in stages]
    settings = {"widths": widths, "depths": depths, "paths": paths, "mlp_ratio": inner // width}
    return [f"backbone.{name}={value}" for name, value in settings.items()]


FOUR = ("out/stage0", "out/stage1", "out/stage2", "out/stage3")
PLAIN = ("backbone.drop_path=0",)

_resnet = partial(
    Family, maps=("out/layer1", "out/layer2", "out/layer3", "out/layer4"), prefix="body."
)
_mpvit = partial(
    Family, maps=("out/stage2", "out/stage3", "out/stage4", "out/stage5"), prefix="backbone."
)
_coat = partial(
    Family,
    maps=("out/x1_nocls", "out/x2_nocls", "out/x3_nocls", "out/x4_nocls"),
    prefix="backbone.",
)
_windows = partial(Family, maps=FOUR, without="relative_position_index$|attn_mask$")

FAMILIES: tuple[Family, ...] = (
    Family(
        "resnet50_dc5",
        ("backbone=resnet50_dc5",),
        ("out/layer1", "out/layer2", "out/layer4"),
        {"out/layer3": "body.layer3"},
        (4, 8, 16),
        "body.",
        r"fc\.",
    ),
    _resnet("resnet50", ("backbone=resnet50",), without=r"fc\."),
    _windows("swin_T_224", ("backbone=swin_t", *PLAIN)),
    _windows("swin_L_384_22k", ("backbone=swin_l", *PLAIN)),
    Family("convnext_tiny", ("backbone=convnext_t", *PLAIN), FOUR),
    Family(
        "convnext_xlarge",
        ("backbone=convnext_xl", *PLAIN),
        FOUR,
    ),
    _mpvit("mpvit_small", ("backbone=mpvit_small",)),
    _mpvit("mpvit_tiny", ("backbone=mpvit_tiny",)),
    _mpvit(SHRUNK, ("backbone=mpvit",)),
    _coat("coat_lite_small", ("backbone=coat_lite_small",)),
    _coat("coat_small", ("backbone=coat_small",)),
    Family(
        "bit_r50",
        ("backbone=bit_r50",),
        ("out/stage1", "out/stage2", "out/stage3", "out/pre_logits_2d"),
        {"out/stem": "pool", "out/stage4": "stages.4", "out/norm_pre_head": "norm"},
        prefix="backbone.",
    ),
)
"""Rows, the first hit counts."""
