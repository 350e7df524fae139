"""detbox: train DETR-family detectors; Lightning runs it, Hydra composes it, W&B shows it."""

from detbox import ops
from detbox.build import build_criterion, build_detector, compose
from detbox.checkpoints.official import load_official, save_official
from detbox.predictor import Predictor, load

__all__ = [
    "Predictor",
    "build_criterion",
    "build_detector",
    "compose",
    "load",
    "load_official",
    "ops",
    "save_official",
]
