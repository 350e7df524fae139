"""Read a weights file in any known naming into a backbone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file as read_safetensors
from torch import Tensor

from detbox.backbones.fitting import Fit, best_fit
from detbox.backbones.protocol import Backbone
from detbox.errors import CheckpointError, MissingFileError
from detbox.messages import some
from detbox.pickles import read_safely
from detbox.places import located
from detbox.wrappers import Stored, find_tensors


def load_file(backbone: Backbone, path: str | Path) -> str:
    """Fill the backbone from a file; what it may lack keeps its values.

    Returns:
        One line: how many tensors were loaded, from where in the file, what of either side is left.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of tensors, or of another model.
    """
    stored = read_tensors(located(path))
    fit = best_fit(backbone, stored)
    _check(backbone, fit, path)
    backbone.fill(fit.found)
    total = len(fit.found) + len(fit.misfit.missing)
    line = f"backbone {backbone.model}: {len(fit.found)} of {total} tensors from {path} "
    line += f"({fit.naming})" + (f"; {fit.misfit}" if fit.misfit else "")
    place = stored._replace(prefix="")  # the naming has it
    return f"{line}; {place}" if stored.place or stored.left else line


def read_tensors(path: Path) -> Stored:
    """Tensors by name from a `.pth`, `.pt`, `.safetensors` or `.npz` file, out of any wrapper.

    Kernels of JAX, which `.npz` files hold, get the order of PyTorch's dimensions.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of tensors.
    """
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no file"
        raise MissingFileError(f"backbone.weights={path} is {kind}; give a weights file")
    content = _read(path)
    stored = find_tensors(content)
    tensors = stored.named.items()
    broken = [n for n, v in tensors if v.is_floating_point() and not v.isfinite().all()]
    if broken or not tensors:
        fault = f"not finite: {some(broken)}" if broken else f"it has {_told(content)}"
        raise CheckpointError(
            f"{path} holds no usable tensors by name ({fault}); backbone.weights takes a state "
            "dict saved as .pth, .safetensors or .npz"
        )
    return stored


def _told(content: Any) -> str:
    keys = [str(key) for key in content] if isinstance(content, dict) else []
    return f"keys {some(keys)}" if keys else f"a {type(content).__name__}"


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return read_safetensors(path)
        if path.suffix == ".npz":
            arrays = dict(np.load(path))
            return {name: _reordered(name, torch.from_numpy(arrays[name])) for name in arrays}
    except (SafetensorError, BadZipFile, TypeError, ValueError, EOFError, OSError) as error:
        raise CheckpointError(
            f"{path} is no readable {path.suffix} file of tensors ({type(error).__name__}); "
            "backbone.weights takes a state dict saved as .pth, .safetensors or .npz"
        ) from error
    return read_safely(path)


def _reordered(name: str, tensor: Tensor) -> Tensor:
    kernel = tensor.ndim == 4 and name.endswith("/kernel")  # (H, W, I, O)
    return tensor.permute(3, 2, 0, 1) if kernel else tensor


def _check(backbone: Backbone, fit: Fit, path: str | Path) -> None:
    if fit.fault:
        total = len(fit.found) + len(fit.misfit.missing) + len(fit.misfit.unlike)
        # Where nothing is foreign, any names that are left tell whose file it is.
        fault = replace(fit.fault, left=fit.fault.left or fit.misfit.left)
        raise CheckpointError(
            f"{path} is of another model than {backbone.model}: expected {total} tensors: {fault}; "
            "set backbone, or backbone.model, to the file's or take another file"
        )
