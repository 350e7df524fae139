"""Checkpoints that a training run wrote: read safely, and held against a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from detbox.errors import CheckpointError, MissingFileError
from detbox.messages import some
from detbox.pickles import read_safely
from detbox.structures import LabelSpace

BUILT_FROM = ("backbone", "neck", "model")
"""sections of the configuration that decide which tensors a checkpoint holds"""
FREE = ("backbone.weights", "backbone.pretrained", "backbone.checkpointing")
"""settings that a resumed run may change"""


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint; nothing in it is executed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no checkpoint of detbox.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise MissingFileError(
            f"no checkpoint at {file}; training writes them to checkpoints/ in its run folder"
        )
    content = read_safely(file, mapped=True)
    missing = {"detbox", "state_dict"} - set(content if isinstance(content, dict) else ())
    if missing:
        raise CheckpointError(
            f"{file} is no detbox checkpoint: it lacks {sorted(missing)}; "
            "convert an official one with tools/convert_checkpoint.py"
        )
    return content


def check_resumable(
    content: Mapping[str, Any], config: Mapping[str, Any], label_space: LabelSpace
) -> None:
    """Refuse to resume a run whose detector or classes differ from this one's.

    Raises:
        ValueError: names the settings, or the classes, with both values.
    """
    if "optimizer_states" not in content:
        raise CheckpointError(
            "the checkpoint holds weights alone, so there is no run to resume; start from them "
            "with init=FILE in place of ckpt=FILE"
        )
    stored = content["detbox"]["config"]
    then, now = (dict(_flat({key: each[key] for key in BUILT_FROM})) for each in (stored, config))
    differ = [key for key in then | now if key not in FREE and then.get(key) != now.get(key)]
    if differ:
        told = ", ".join(f"{key}={then.get(key)} (this run: {now.get(key)})" for key in differ)
        raise CheckpointError(f"the checkpoint was trained with {told}; give the same settings")
    trained = LabelSpace.from_dict(content["detbox"]["label_space"])
    if trained != label_space:
        raise CheckpointError(
            f"the checkpoint knows the classes {_classes(trained)}, "
            f"the data {_classes(label_space)}; resume on the same data"
        )


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _classes(space: LabelSpace) -> str:
    named = [f"{i} {name}" for i, name in zip(space.category_ids, space.names, strict=True)]
    return some(named, shown=8)
