"""Image encoders that give a pyramid of feature maps; importing the package registers them."""

from __future__ import annotations

from detbox.backbones import bit, coat, mpvit, timm
from detbox.backbones.protocol import Backbone, BackboneModule, WeightsUnavailableError, described
from detbox.backbones.weights import load_pretrained

__all__ = [
    "Backbone",
    "BackboneModule",
    "WeightsUnavailableError",
    "bit",
    "coat",
    "described",
    "load_pretrained",
    "mpvit",
    "timm",
]
