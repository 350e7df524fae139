"""Image encoders that give a pyramid of feature maps; importing the package registers them."""

from __future__ import annotations

from detbox.backbones import bit, coat, mpvit, timm
from detbox.backbones.layouts import official_names
from detbox.backbones.weights import WeightsUnavailableError, load_pretrained

__all__ = [
    "WeightsUnavailableError",
    "bit",
    "coat",
    "load_pretrained",
    "mpvit",
    "official_names",
    "timm",
]
