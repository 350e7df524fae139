"""Reading files of tensors without executing anything that they hold."""

from __future__ import annotations

import argparse
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detbox.registry import some

ALLOWED = (argparse.Namespace,)
"""beside tensors and plain containers: official files keep their command line"""
PLACES = ("model", "state_dict")
"""where official files keep their tensors"""


def read_safely(path: Path, *, mapped: bool = False) -> Any:
    """The content of a file that `torch.save` wrote; a pickle that would run code is refused.

    Args:
        path: an existing file.
        mapped: leave the tensors on the disk until they are used; the file must then stay.

    Raises:
        ValueError: the file is something else, or asks for more than tensors and plain values.
    """
    mapped &= zipfile.is_zipfile(path)  # older files cannot be mapped
    try:
        with torch.serialization.safe_globals(list(ALLOWED)):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    # The unpickler raises whatever it trips over in a file that is something else.
    except Exception as error:
        if called := re.search(r"\bGLOBAL ([\w.]+)", str(error)):
            raise ValueError(
                f"{path} asks for {called[1]}, which no tensor needs; it was refused and nothing "
                "was executed; save the tensors alone where the file was made: "
                "torch.save({'model': model.state_dict()}, FILE)"
            ) from error
        raise ValueError(
            f"{path} is no file of tensors as torch.save writes it "
            f"({type(error).__name__}); give a .pth or .ckpt file"
        ) from error


def read_official(path: Path) -> dict[str, Tensor]:
    """The model's tensors of an official `.pth` file; nothing in the file is executed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no tensors by name, or is a checkpoint of detbox.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}; give the path of a .pth file")
    content = read_safely(path)
    found = content if isinstance(content, dict) else {}
    if "detbox" in found:
        raise ValueError(
            f"{path} is a checkpoint of detbox; read it with detbox.load, or write it in the "
            "official layout: python tools/convert_checkpoint.py to=official source=FILE"
        )
    places = (found[place] for place in PLACES if isinstance(found.get(place), dict))
    tensors = {
        name: value for name, value in next(places, found).items() if isinstance(value, Tensor)
    }
    if not tensors:
        got = some([str(key) for key in found]) if found else type(content).__name__
        raise ValueError(
            f"{path} holds no detector: expected tensors by name, alone or under 'model', "
            f"got {got}; give the file that the official training wrote"
        )
    return tensors
