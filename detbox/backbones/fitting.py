"""Which tensor of a weights file belongs to which of a backbone."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Mapping
from typing import NamedTuple

import torch
from timm import create_model
from torch import Tensor

from detbox.backbones.extractors import classifier_names, feature_info
from detbox.backbones.layouts import COMPUTED, Names, layouts
from detbox.backbones.own import STRIDES, OwnBackbone
from detbox.backbones.timm import TimmBackbone
from detbox.errors import CheckpointError

Backbone = TimmBackbone | OwnBackbone
NORM = re.compile(r"norms?\.?\d\.")
"""output norms of levels, of which a detector may read fewer"""


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
    foreign: list[str]
    """those of them that are parts of blocks which the backbone has not"""

    @property
    def is_whole(self) -> bool:
        """Whether all is there but output norms, which classifiers lack, and nothing foreign."""
        absent = [name for name in self.missing if not name.startswith("norms.")]
        return not (absent or self.reshaped or self.foreign)


def best_fit(backbone: Backbone, stored: Mapping[str, Tensor]) -> Fit:
    """The reading of a file that gives the backbone most: which layout, below which prefix.

    Where none gives all, timm's own reader of the family is asked: it knows more layouts, and fits
    what was learnt at another image size.

    Args:
        backbone: to fill; it stays as it is.
        stored: tensors by the file's names.

    Raises:
        ValueError: the file holds the backbone twice.
    """
    fit = _best(backbone, stored, "")
    adapted = None if fit.is_whole else _adapted(backbone, stored)
    if adapted is None:
        return fit
    other = _best(backbone, adapted, ", as timm reads it")
    return other if other.is_whole else fit


def _best(backbone: Backbone, stored: Mapping[str, Tensor], note: str) -> Fit:
    fits = {
        (layout, prefix): _fit(backbone, stored, names, prefix)
        for layout, names in layouts(backbone).items()
        for prefix in _prefixes(names, stored)
    }
    layout, prefix = max(fits, key=lambda key: len(fits[key].found))
    best = fits[layout, prefix]
    equal = [other for (same, other), fit in fits.items() if same == layout and fit.is_whole]
    if best.is_whole and len(equal) > 1:
        raise CheckpointError(
            f"the file holds {backbone.model} more than once, below {' and '.join(equal)}; "
            "save the one you want: torch.save({'model': tensors}, FILE)"
        )
    return best._replace(layout=layout + (f" below {prefix!r}" if prefix else "") + note)


def _prefixes(names: Names, stored: Mapping[str, Tensor]) -> list[str]:
    """What may stand before every name in the file, as wrappers and detectors have it."""
    first = next(iter(names.values()))[0]
    ends = (name.removesuffix(first) for name in stored if name.endswith(f".{first}"))
    return ["", *ends]


def _fit(backbone: Backbone, stored: Mapping[str, Tensor], names: Names, prefix: str) -> Fit:
    given = {ours: stored.get(prefix + theirs[0]) for ours, theirs in names.items()}
    present = {name: tensor for name, tensor in given.items() if tensor is not None}
    shapes = {name: tensor.shape for name, tensor in backbone.state_dict().items()}
    unlike = [name for name, tensor in present.items() if tensor.shape != shapes[name]]
    known = {prefix + each for theirs in names.values() for each in theirs}
    unused = sorted(name for name in stored.keys() - known if not name.endswith(COMPUTED))
    return Fit(
        "",
        {name: tensor for name, tensor in present.items() if name not in unlike},
        sorted(name for name in names if name not in present and not name.endswith(COMPUTED)),
        sorted(f"{n} {tuple(shapes[n])}, got {tuple(present[n].shape)}" for n in unlike),
        unused,
        _foreign(backbone, unused, known, prefix),
    )


def _foreign(backbone: Backbone, unused: list[str], known: set[str], prefix: str) -> list[str]:
    """Names in blocks, or rows of blocks, that the backbone has: a deeper model's, or another's."""
    if not _reads_all(backbone):  # then stages of its own may be left, under names of any layout
        return []
    rows = {row for name in known for row in _rows(name.removeprefix(prefix))}
    below = [name.removeprefix(prefix) for name in unused if name.startswith(prefix)]
    suspects = [name for name in below if rows & set(_rows(name)) and not NORM.match(name)]
    if suspects and isinstance(backbone, TimmBackbone):
        suspects = sorted(set(suspects) - set(classifier_names(backbone.model)))
    return [prefix + name for name in suspects]


def _reads_all(backbone: Backbone) -> bool:
    if isinstance(backbone, OwnBackbone):
        return backbone.strides[-1] == STRIDES[-1]
    return backbone.levels[-1] == len(feature_info(backbone.body).info) - 1


def _rows(name: str) -> list[str]:
    """What stands before each number: `layers.0.blocks.1` is in `layers.0.blocks`, `s1.b2` in `s1`.

    JAX has `block3/unit07` for it.
    """
    numbers = re.finditer(r"\.[a-z]*\d+(?=\.)|/[a-z]+\d+(?=/)", name)
    return [name[: match.start()] for match in numbers]


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
