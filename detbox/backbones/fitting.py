"""Which tensor of a weights file belongs to which of a backbone."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Mapping
from typing import NamedTuple

import torch
from timm import create_model
from torch import Tensor

from detbox.backbones.layouts import COMPUTED, Names, layouts
from detbox.backbones.own import OwnBackbone
from detbox.backbones.timm import TimmBackbone

Backbone = TimmBackbone | OwnBackbone


class Fit(NamedTuple):
    """What one reading of a file gives a backbone; names are sorted."""

    layout: str
    """for messages"""
    found: dict[str, Tensor]
    """by our names"""
    missing: list[str]
    """ours that the file lacks"""
    reshaped: list[str]
    """ours of another shape in the file, one sentence each"""
    unused: list[str]
    """names of the file that are left"""

    @property
    def is_whole(self) -> bool:
        """Whether all is there but output norms, which classifiers lack."""
        return not self.reshaped and all(name.startswith("norms.") for name in self.missing)


def best_fit(backbone: Backbone, stored: Mapping[str, Tensor]) -> Fit:
    """The reading of a file that gives the backbone most: which layout, below which prefix.

    Where none gives all, timm's own reader of the family is asked: it knows more layouts, and fits
    what was learnt at another image size.

    Args:
        backbone: to fill; it stays as it is.
        stored: tensors by the file's names.
    """
    fit = _best(backbone, stored, "")
    adapted = None if fit.is_whole else _adapted(backbone, stored)
    if adapted is None:
        return fit
    other = _best(backbone, adapted, ", as timm reads it")
    return other if other.is_whole else fit


def _best(backbone: Backbone, stored: Mapping[str, Tensor], note: str) -> Fit:
    fits = [
        _fit(backbone, stored, names, prefix, layout + _below(prefix) + note)
        for layout, names in layouts(backbone).items()
        for prefix in _prefixes(names, stored)
    ]
    return max(fits, key=lambda fit: len(fit.found))


def _below(prefix: str) -> str:
    return f" below {prefix!r}" if prefix else ""


def _prefixes(names: Names, stored: Mapping[str, Tensor]) -> list[str]:
    """What may stand before every name in the file, as wrappers and detectors have it."""
    first = next(iter(names.values()))[0]
    ends = (name.removesuffix(first) for name in stored if name.endswith(f".{first}"))
    return ["", *ends]


def _fit(
    backbone: Backbone, stored: Mapping[str, Tensor], names: Names, prefix: str, layout: str
) -> Fit:
    given = {ours: stored.get(prefix + theirs[0]) for ours, theirs in names.items()}
    present = {name: tensor for name, tensor in given.items() if tensor is not None}
    shapes = {name: tensor.shape for name, tensor in backbone.state_dict().items()}
    unlike = [name for name, tensor in present.items() if tensor.shape != shapes[name]]
    known = {prefix + each for theirs in names.values() for each in theirs}
    return Fit(
        layout,
        {name: tensor for name, tensor in present.items() if name not in unlike},
        sorted(name for name in names if name not in present and not name.endswith(COMPUTED)),
        sorted(f"{n} {tuple(shapes[n])}, got {tuple(present[n].shape)}" for n in unlike),
        sorted(name for name in stored.keys() - known if not name.endswith(COMPUTED)),
    )


def _adapted(backbone: Backbone, stored: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    if isinstance(backbone, OwnBackbone):
        return None
    with torch.device("meta"):
        whole = create_model(backbone.model)
    adapt = getattr(sys.modules[type(whole).__module__], "checkpoint_filter_fn", None)
    if adapt is None:
        return None
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # some tell what they leave out
            return dict(adapt(dict(stored), whole))
    except Exception:  # on files of other models they trip over anything
        return None
