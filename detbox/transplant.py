"""Start from a checkpoint of other classes: rows of classes of the same name are taken over."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from rich.table import Table
from rich.text import Text
from torch import Tensor, nn

from detbox.errors import CheckpointError
from detbox.messages import some
from detbox.misfit import misfit
from detbox.structures import LabelSpace


class Transplant(NamedTuple):
    """What `transplant` did."""

    copied: tuple[str, ...]
    """classes whose rows come from the checkpoint"""
    fresh: tuple[str, ...]
    """classes that the checkpoint does not know"""
    left: tuple[str, ...]
    """classes of the checkpoint that are not wanted"""
    tensors: tuple[str, ...]
    """tensors with a row per class"""
    unused: tuple[str, ...]
    """tensors of the checkpoint that the detector does not have"""

    def table(self) -> Table:
        """A few lines for a person."""
        table = Table("classes", "", "", title="start from a checkpoint", title_justify="left")
        rows = (
            ("taken over", self.copied),
            ("new, initialised", self.fresh),
            ("left behind", self.left),
            ("tensors by class", self.tensors),
            ("tensors not used", self.unused),
        )
        for what, names in rows:
            table.add_row(what, str(len(names)), Text(some(names)))
        return table


def class_tensors(build: Callable[[int], nn.Module], num_classes: int) -> dict[str, int]:
    """The tensors that have a row per class, and how many rows they have beyond those.

    They are found by building the detector for one class more and comparing shapes; nothing is
    allocated.

    Args:
        build: number of classes -> detector.
        num_classes: K; the rows beyond are such as "no object", and come after the K rows.
    """
    with torch.device("meta"):
        small, large = (build(count).state_dict() for count in (num_classes, num_classes + 1))
    return {
        name: tensor.shape[0] - num_classes
        for name, tensor in small.items()
        if tensor.shape != large[name].shape
    }


def transplant(
    detector: nn.Module,
    space: LabelSpace,
    stored: Mapping[str, Tensor],
    stored_space: LabelSpace,
    class_rows: Mapping[str, int],
    by_place: Collection[str] = (),
) -> Transplant:
    """Fill a fresh detector from a state dict of the same detector with other classes.

    Rows of a class that both know by name are copied, and so are rows beyond the classes; the
    others keep their initial values. Tensors without rows by class are copied whole.

    Args:
        detector: built for `space`.
        space: its classes.
        stored: a detector's state dict.
        stored_space: the classes of that detector.
        class_rows: what `class_tensors` says of the detector.
        by_place: those of them whose first row stands for any object, and stays the first.

    Raises:
        ValueError: a tensor without rows by class is missing or has another shape.
    """
    own = detector.state_dict()
    found = misfit(own, stored, class_rows)
    if fault := replace(found, left=()):
        raise CheckpointError(
            f"the checkpoint is of another detector: {fault}; give the backbone, neck and model "
            "settings that it was made with"
        )
    pairs = _same_names(space, stored_space)
    for name, tensor in own.items():
        if name not in class_rows:
            own[name] = stored[name]
        elif name in stored:
            chosen = [(0, 0)] if name in by_place else pairs
            own[name] = _merged(tensor, stored[name], chosen, class_rows[name])
    detector.load_state_dict(own)
    taken = {theirs for _, theirs in pairs}
    known = {ours for ours, _ in pairs}
    return Transplant(
        tuple(space.names[ours] for ours, _ in pairs),
        tuple(name for label, name in enumerate(space.names) if label not in known),
        tuple(name for label, name in enumerate(stored_space.names) if label not in taken),
        tuple(class_rows),
        found.left,
    )


def _same_names(space: LabelSpace, stored: LabelSpace) -> list[tuple[int, int]]:
    label_of = {name: label for label, name in reversed(list(enumerate(stored.names)))}
    return [(i, label_of[name]) for i, name in enumerate(space.names) if name in label_of]


def _merged(fresh: Tensor, stored: Tensor, pairs: list[tuple[int, int]], beyond: int) -> Tensor:
    merged = fresh.clone()
    for ours, theirs in pairs:
        merged[ours] = stored[theirs]
    if beyond:
        merged[-beyond:] = stored[-beyond:]
    return merged
