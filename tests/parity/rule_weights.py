"""Weights of full-size models: a function of official names, kept with the recordings."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from detbox.models.detector import Detector
from detbox.official.layouts import official_names
from detbox.official.state import load_official


def load_rule(folder: Path) -> ModuleType:
    """The `fill_rule.py` of a folder.

    Raises:
        FileNotFoundError: there is none.
    """
    path = folder / "fill_rule.py"
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: full-size recordings need the rule of their weights")
    spec = importlib.util.spec_from_file_location("fill_rule", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fill(detector: Detector, rule: ModuleType, meta: Mapping[str, Any]) -> None:
    """Give every tensor its value by rule, through the official names."""
    load_official(detector, by_rule(detector, rule, meta))


def by_rule(detector: Detector, rule: ModuleType, meta: Mapping[str, Any]) -> dict[str, Tensor]:
    """The value of every tensor by rule, under all of its official names."""
    own, official = detector.state_dict(), official_names(detector)
    # The first rule has one salt for all tensors, and no gains.
    extra = [meta.get(key) for key in ("salts", "gains")] if hasattr(rule, "tensor") else []
    value = rule.tensor if extra else rule.value
    filled: dict[str, Tensor] = {}
    for name, aliases in official.items():
        array = value(canonical(aliases), own[name].shape, meta["salt"], *extra)
        filled |= dict.fromkeys(aliases, torch.from_numpy(array))
    return filled


def canonical(aliases: tuple[str, ...]) -> str:
    """The one of several names of a tensor that the rule goes by: the shortest, then the first."""
    return min(aliases, key=lambda name: (len(name), name))


def images(rule: ModuleType, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (B, 3, H, W) by rule, zero-padded, and their mask (B, H, W)."""
    height, width = (int(each) for each in sizes.amax(0))
    pixels = torch.zeros(len(sizes), 3, height, width)
    mask = torch.ones(len(sizes), height, width, dtype=torch.bool)
    for image, (h, w) in enumerate(sizes.tolist()):
        pixels[image, :, :h, :w] = torch.from_numpy(rule.input_array(f"image{image}", (3, h, w)))
        mask[image, :h, :w] = False
    return pixels, mask
