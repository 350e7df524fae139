"""Official checkpoint layouts, read and written: every tensor is accounted for, both ways."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from detbox.backbones.layouts import official_names as backbone_names
from detbox.backbones.timm import TimmBackbone
from detbox.checkpoints.dino import NAMES
from detbox.models.detector import Detector
from detbox.registry import some

CONSTANT = re.compile(r"(relative_position_index|attn_mask|num_batches_tracked)$|\.norm0\.")
"""official tensors that hold nothing learnt, or that no forward pass reads"""


def load_official(detector: Detector, source: str | Path | Mapping[str, Tensor]) -> None:
    """Fill a detector from an official checkpoint, strictly.

    Args:
        detector: built from the configuration that the checkpoint was trained with.
        source: a `.pth` file, or a state dict with official names.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a tensor is missing, left over, of another shape, or not shared as it should be.
    """
    stored = source if isinstance(source, Mapping) else read_official(Path(source))
    ours = detector.state_dict()
    names = official_names(detector)
    wanted = {official for each in names.values() for official in each}
    _refuse("lacks tensors", wanted.difference(stored))
    unread = {name for name in stored if not CONSTANT.search(name)}
    _refuse("holds unknown tensors", unread.difference(wanted))
    for name, official in names.items():
        ours[name] = _shared(official, stored, ours[name].shape)
    detector.load_state_dict(ours)


def save_official(detector: Detector) -> dict[str, Tensor]:
    """The detector's state dict under official names, shared heads repeated as they are there."""
    ours = detector.state_dict()
    names = official_names(detector)
    return {official: ours[name] for name, each in names.items() for official in each}


def official_names(detector: Detector) -> dict[str, tuple[str, ...]]:
    """Our name -> official names, for every tensor that official files hold."""
    names = dict(_backbone_names(detector.backbone))
    num_layers = sum(1 for _ in detector.decoder.get_submodule("layers").children())
    for name in detector.state_dict():
        if not name.startswith("backbone."):
            names[name] = _renamed(name, num_layers)
    return names


def read_official(path: Path) -> dict[str, Tensor]:
    """The model's tensors of an official `.pth` file; nothing in the file is executed."""
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}; give the path of a .pth file")
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(path, map_location="cpu", weights_only=True)
    return content.get("model", content)


def _backbone_names(backbone: nn.Module) -> Iterable[tuple[str, tuple[str, ...]]]:
    own = {name: name for name in backbone.state_dict()}
    known = backbone_names(backbone) if isinstance(backbone, TimmBackbone) else own
    for name, official in known.items():
        if not CONSTANT.search(official):
            yield f"backbone.{name}", (f"backbone.0.{official}",)


def _renamed(name: str, num_layers: int) -> tuple[str, ...]:
    for pattern, templates in NAMES:
        if match := re.match(pattern, name):
            rest = name[match.end() :]
            prefixes = [match.expand(template) for template in templates]
            spelt = [p.replace("{layer}", str(i)) for p in prefixes for i in range(num_layers)]
            return tuple(prefix + rest for prefix in dict.fromkeys(spelt))
    raise ValueError(f"{name} has no official name; add it to detbox/checkpoints/dino.py")


def _shared(names: tuple[str, ...], stored: Mapping[str, Tensor], shape: torch.Size) -> Tensor:
    first, *aliases = names
    tensor = stored[first]
    if tensor.shape != shape:
        raise ValueError(
            f"{first} is {tuple(tensor.shape)} in the checkpoint, {tuple(shape)} in the detector; "
            "build the detector with the checkpoint's settings"
        )
    for alias in aliases:
        if not torch.equal(stored[alias], tensor):
            raise ValueError(f"{alias} differs from {first}, but this detector shares the two")
    return tensor


def _refuse(fault: str, names: Iterable[str]) -> None:
    if names := sorted(names):
        raise ValueError(
            f"the checkpoint {fault}: {some(names)}; is it of this model, with these settings?"
        )
