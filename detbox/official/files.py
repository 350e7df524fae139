"""Reading official checkpoints."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import Tensor

from detbox.errors import CheckpointError, MissingFileError
from detbox.messages import some
from detbox.pickles import read_safely
from detbox.wrappers import find_tensors

logger = logging.getLogger("detbox")


def read_official(path: Path) -> dict[str, Tensor]:
    """The model's tensors of an official `.pth` file; nothing in the file is executed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no tensors by name, or is a checkpoint of detbox.
    """
    if not path.is_file():
        raise MissingFileError(f"no checkpoint at {path}; give the path of a .pth file")
    content = read_safely(path)
    found = content if isinstance(content, dict) else {}
    if "detbox" in found:
        raise CheckpointError(
            f"{path} is a checkpoint of detbox; read it with detbox.load, or write it in the "
            "official layout: python tools/convert_checkpoint.py to=official source=FILE"
        )
    stored = find_tensors(content)
    if stored.prefix or stored.left or stored.place not in ("", "model", "state_dict"):
        logger.info("%s: %s", path, stored)
    if not stored.tensors:
        got = some([str(key) for key in found]) if found else type(content).__name__
        raise CheckpointError(
            f"{path} holds no detector: expected tensors by name, alone or under 'model', "
            f"got {got}; give the file that the official training wrote"
        )
    return stored.tensors
