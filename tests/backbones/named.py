"""The backbones that have a name in conf/backbone, and what is known of each."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import detbox
from detbox.registry import BACKBONES

CONF = Path(__file__).parents[2] / "conf" / "backbone"
NAMED = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "timm")
SLOW = (
    *("swin_t_22k", "swin_s", "swin_s_22k", "swin_b", "swin_b_224", "swin_b_224_22k"),
    *("swin_b_384", "swin_l", "swin_l_224_22k", "resnet101"),
    *("convnext_s", "convnext_b", "convnext_l", "convnext_xl"),
    *("mpvit", "mpvit_xsmall", "mpvit_base", "coat", "coat_mini", "coat_small"),
    *("vit_b_dinov2", "vit_b_dinov3", "eva02_l"),
)
"""large, deep, or built of the same parts as another one"""
BY_SIZE = [pytest.param(each, marks=pytest.mark.slow) if each in SLOW else each for each in NAMED]
DROPS_CELLS = ("convnext", "coat")
"""families whose convolutions drop incomplete cells, so that sizes are rounded down"""


def build(name: str, *options: str) -> Any:
    """A named backbone on random weights; its class depends on the name."""
    return BACKBONES.build(detbox.compose(f"backbone={name}", *options).backbone)


def rounding(name: str) -> Callable[[float], int]:
    """How the sizes of a backbone's maps are rounded."""
    return math.floor if name.startswith(DROPS_CELLS) else math.ceil
