"""Read a weights file in any known layout into a backbone."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file as read_safetensors
from torch import Tensor

from detbox.backbones.layouts import COMPUTED, detect, layouts
from detbox.backbones.own import OwnBackbone
from detbox.backbones.timm import TimmBackbone, whole_model
from detbox.registry import some

WRAPPERS = ("model", "state_dict")
ZIPPED = (BadZipFile, ValueError)
"""what reading a bad `.npz` file raises"""


def load_file(backbone: TimmBackbone | OwnBackbone, path: str | Path) -> str:
    """Fill the backbone from a file; output norms, which classifiers lack, may be absent.

    Returns:
        One line: how many tensors were loaded, which of either side were left.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of tensors, or of another model.
    """
    stored = _adapted(read_tensors(Path(path)), backbone)
    candidates = layouts(backbone)
    layout = detect(stored, candidates)
    names = candidates[layout]
    found = {name: stored[others[0]] for name, others in names.items() if others[0] in stored}
    missing = [name for name in names if name not in found and not name.endswith(COMPUTED)]
    _check(backbone, found, missing, path)
    backbone.load_state_dict(found, strict=False)
    known = {other for others in names.values() for other in others}
    unused = [name for name in stored.keys() - known if not name.endswith(COMPUTED)]
    line = f"backbone {backbone.model}: {len(found)} of {len(names)} tensors from {path} ({layout})"
    if missing:
        line += f"; not in the file: {some(sorted(missing))}"
    return line + (f"; not used: {some(sorted(unused))}" if unused else "")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a `.pth`, `.pt`, `.safetensors` or `.npz` file, out of a usual wrapper.

    Kernels of JAX, which `.npz` files hold, get the order of PyTorch's dimensions.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of tensors.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weights file {path}; check backbone.weights")
    try:
        content = _read(path)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, *ZIPPED) as error:
        raise ValueError(
            f"{path} is no readable file of tensors ({type(error).__name__}); "
            "backbone.weights takes a state dict saved as .pth, .safetensors or .npz"
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    tensors = content.items() if isinstance(content, dict) else ()
    return {name: value for name, value in tensors if isinstance(value, Tensor)}


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    if path.suffix == ".npz":
        arrays = np.load(path)
        return {name: _reordered(name, torch.from_numpy(arrays[name])) for name in arrays}
    return torch.load(path, map_location="cpu", weights_only=True)


def _reordered(name: str, tensor: Tensor) -> Tensor:
    kernel = tensor.ndim == 4 and name.endswith("/kernel")  # (H, W, I, O)
    return tensor.permute(3, 2, 0, 1) if kernel else tensor


def _adapted(stored: dict[str, Tensor], backbone: TimmBackbone | OwnBackbone) -> dict[str, Tensor]:
    # timm reads the names of a ViT's authors, and fits positions learnt at another size.
    whole = whole_model(backbone.body) if isinstance(backbone, TimmBackbone) else None
    adapt = getattr(sys.modules[type(whole).__module__], "checkpoint_filter_fn", None)
    return adapt(stored, whole) if adapt else stored


def _check(
    backbone: TimmBackbone | OwnBackbone,
    found: dict[str, Tensor],
    missing: list[str],
    path: str | Path,
) -> None:
    own = backbone.state_dict()
    absent = sorted(name for name in missing if not name.startswith("norms."))
    reshaped = [
        f"{name} {tuple(own[name].shape)}, got {tuple(tensor.shape)}"
        for name, tensor in found.items()
        if tensor.shape != own[name].shape
    ]
    if absent or reshaped:
        raise ValueError(
            f"{path} is of another model than {backbone.model}: expected {len(own)} tensors, "
            f"{len(absent)} absent ({some(absent)}), {len(reshaped)} of another shape "
            f"({some(reshaped)}); set backbone or backbone.model to the file's or take another"
        )
