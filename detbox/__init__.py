"""detbox: train DETR-family detectors; Lightning runs it, Hydra composes it, W&B shows it."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Read when torch is imported: what Apple's MPS lacks, such as a backward pass, runs on the CPU.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

if TYPE_CHECKING:
    from detbox import ops
    from detbox.build import build_criterion, build_detector, compose
    from detbox.official.state import load_official, save_official
    from detbox.predictor import Predictor, load

_HOMES = {
    "Predictor": "detbox.predictor",
    "build_criterion": "detbox.build",
    "build_detector": "detbox.build",
    "compose": "detbox.build",
    "load": "detbox.predictor",
    "load_official": "detbox.official.state",
    "save_official": "detbox.official.state",
}

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


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is asked for (PEP 562)."""
    if name == "ops":
        return import_module("detbox.ops")
    if name not in _HOMES:
        raise AttributeError(f"module 'detbox' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
