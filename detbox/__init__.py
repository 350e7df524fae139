"""detbox: train DETR-family detectors; Lightning runs it, Hydra composes it, W&B shows it."""

import os

# Read when torch is imported: what Apple's MPS lacks, such as a backward pass, runs on the CPU.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

from detbox import ops
from detbox.build import build_criterion, build_detector, compose
from detbox.official.state import load_official, save_official
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
