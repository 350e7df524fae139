"""Official checkpoints, read and written: every tensor is accounted for, both ways."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from detbox.errors import CheckpointError
from detbox.misfit import Misfit, shapes_differ
from detbox.models.detector import Detector
from detbox.official.files import read_official
from detbox.official.layouts import (
    CONSTANT,
    constants,
    detect,
    layouts_of,
    official_names,
)
from detbox.official.registry import LAYOUTS


class Report(NamedTuple):
    """What became of a checkpoint's tensors."""

    layout: str
    filled: int
    """tensors of the detector that the checkpoint gave"""
    misfit: Misfit
    """what did not fit, by the names of the file; nothing in strict use"""

    def __str__(self) -> str:
        """One line, for a person."""
        told = f"{self.filled} tensors from layout {self.layout}"
        return f"{told}; {self.misfit}" if self.misfit else told


def load_official(
    detector: Detector, source: str | Path | Mapping[str, Tensor], *, strict: bool = True
) -> Report:
    """Fill a detector from an official checkpoint; its layout is told by its names.

    Args:
        detector: built from the configuration that the checkpoint was trained with.
        source: a `.pth` file, or a state dict with official names.
        strict: refuse what does not fit in every tensor; otherwise fill what fits, and report.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is none of tensors, or, in strict use, a tensor is missing, left over,
            of another shape, or not shared as it should be.
    """
    stored = source if isinstance(source, Mapping) else read_official(Path(source))
    layout = layout_for(detector, stored)
    ours = detector.state_dict()
    filled, report = _fitted(ours, stored, official_names(detector, layout), layout)
    if strict and report.misfit:
        raise CheckpointError(
            f"the checkpoint does not fit layout {layout}: {report.misfit}; "
            f"{advice_on(detector, stored)}"
        )
    detector.load_state_dict({**ours, **filled})
    return report


def save_official(detector: Detector, layout: str | None = None) -> dict[str, Tensor]:
    """The detector's state dict under official names, shared heads repeated as they are there.

    Args:
        detector: of any model that has an official layout.
        layout: one that is registered; None: the one that fits best.

    Raises:
        ValueError: a tensor has no official name.
    """
    chosen = layout or layouts_of(detector)[0]
    ours = detector.state_dict()
    learnt = {
        official: _without_last_row(ours[name]) if LAYOUTS[chosen].is_short(name) else ours[name]
        for name, officials in official_names(detector, chosen).items()
        for official in officials
        if not (LAYOUTS[chosen].may_lack(name) and not ours[name].any())
    }
    return learnt | constants(detector, chosen)


def layout_for(detector: Detector, stored: Iterable[str]) -> str:
    """Of the layouts that fit a detector, the one that most names of a file belong to."""
    known = set(stored)
    return max(
        layouts_of(detector),
        key=lambda layout: sum(
            official in known
            for each in official_names(detector, layout).values()
            for official in each
        ),
    )


def advice_on(detector: Detector, stored: Iterable[str]) -> str:
    """What to do about a file that does not fit a detector, for a message."""
    known = list(stored)
    fitting, detected = layouts_of(detector), detect(known)
    if detected is not None and detected not in fitting:
        return f"by its names it is {detected}, the detector is {fitting[0]}; give the file's model"
    wanted = {each for names in official_names(detector, fitting[0]).values() for each in names}
    if detected is None and 2 * len(wanted.intersection(known)) < len(wanted):
        return (
            f"its names are of none of {', '.join(LAYOUTS)}; give an official checkpoint of one of "
            "these (weights of a backbone alone go to backbone.weights=FILE)"
        )
    return "build the detector with the checkpoint's model, backbone and settings"


def _stored_shape(name: str, shape: torch.Size, layout: str) -> torch.Size:
    """The shape that one of our tensors has in a file of this layout."""
    short = LAYOUTS[layout].is_short(name)
    return torch.Size((shape[0] - 1, *shape[1:])) if short else shape


def _fitted(
    ours: Mapping[str, Tensor],
    stored: Mapping[str, Tensor],
    names: Mapping[str, tuple[str, ...]],
    layout: str,
) -> tuple[dict[str, Tensor], Report]:
    """The stored tensors under our names, as far as they fit, and what became of all."""
    filled, unlike, absent = {}, [], set[str]()
    for name, officials in names.items():
        if LAYOUTS[layout].may_lack(name) and stored.keys().isdisjoint(officials):
            filled[name] = torch.zeros_like(ours[name])
            absent.update(officials)
        elif all(official in stored for official in officials):
            tensors = {official: stored[official] for official in officials}
            if fault := _fault(tensors, _stored_shape(name, ours[name].shape, layout)):
                unlike.append(fault)
            else:
                filled[name] = _with_last_row(tensors[officials[0]], ours[name].shape)
    wanted = {official for officials in names.values() for official in officials}
    missing = wanted.difference(stored, absent)
    unknown = (name for name in stored if name not in wanted and not CONSTANT.search(name))
    told = tuple(tuple(sorted(each)) for each in (missing, unknown, unlike))
    return filled, Report(layout, len(filled), Misfit(*told))


def _without_last_row(tensor: Tensor) -> Tensor:
    return tensor[:-1].clone()


def _with_last_row(tensor: Tensor, shape: torch.Size) -> Tensor:
    absent = shape[0] - tensor.shape[0] if tensor.ndim else 0
    return torch.cat((tensor, tensor.new_zeros(absent, *shape[1:]))) if absent else tensor


def _fault(tensors: Mapping[str, Tensor], shape: torch.Size) -> str:
    first, *aliases = tensors
    if tensors[first].shape != shape:
        return shapes_differ(first, tensors[first].shape, shape)
    differ = (alias for alias in aliases if not torch.equal(tensors[alias], tensors[first]))
    return next(
        (f"{name} differs from {first}, but this detector shares the two" for name in differ), ""
    )
