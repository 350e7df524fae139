"""Which tensor of a weights file belongs to which of a backbone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor

from detbox.backbones.naming import COMPUTED, Names
from detbox.backbones.protocol import Backbone
from detbox.errors import CheckpointError
from detbox.misfit import Misfit, shapes_differ
from detbox.wrappers import Stored

NORM = re.compile(r"norms?\.?\d\.")
"""output norms of levels, of which a detector may read fewer"""


class Fit(NamedTuple):
    """What one reading of a file gives a backbone."""

    naming: str
    """for messages"""
    found: dict[str, Tensor]
    """by our names"""
    misfit: Misfit
    """ours that the file lacks or has in another shape, and names of the file that are left"""
    fault: Misfit
    """the part of it that may not be: what the backbone needs, and blocks that it has not"""


def best_fit(backbone: Backbone, stored: Stored) -> Fit:
    """The reading of a file that gives the backbone most: which naming, below which prefix.

    Where none gives all, the backbone is asked to adapt the file: timm's readers know rarer namings
    and fit what was learnt at another image size.

    Args:
        backbone: to fill; it stays as it is.
        stored: the file's tensors; prefixes are searched here too, as a backbone's own names may
            begin like a wrapper's.

    Raises:
        ValueError: the file holds the backbone twice.
    """
    fit = _best(backbone, stored.named, "")
    adapted = backbone.adapted(stored.tensors) if fit.fault else None
    if adapted is None:
        return fit
    other = _best(backbone, adapted, ", as timm reads it")
    return fit if other.fault else other


def _best(backbone: Backbone, stored: Mapping[str, Tensor], note: str) -> Fit:
    fits = {
        (naming, prefix): _fit(backbone, stored, names, prefix)
        for naming, names in backbone.namings().items()
        for prefix in _prefixes(names, stored)
    }
    naming, prefix = max(fits, key=lambda key: len(fits[key].found))
    best = fits[naming, prefix]
    equal = [other for (same, other), fit in fits.items() if same == naming and not fit.fault]
    if len(equal) > 1 and not best.fault:
        raise CheckpointError(
            f"the file holds {backbone.model} more than once, below {' and '.join(equal)}; "
            "save the one you want: torch.save({'model': tensors}, FILE)"
        )
    return best._replace(naming=naming + (f" below {prefix!r}" if prefix else "") + note)


def _prefixes(names: Names, stored: Mapping[str, Tensor]) -> list[str]:
    """What may stand before every name in the file, as wrappers and detectors have it."""
    first = next(iter(names.values()))[0]
    ends = (name.removesuffix(first) for name in stored if name.endswith(f".{first}"))
    return ["", *ends]


def _fit(backbone: Backbone, stored: Mapping[str, Tensor], names: Names, prefix: str) -> Fit:
    given = {ours: stored.get(prefix + theirs[0]) for ours, theirs in names.items()}
    present = {name: tensor for name, tensor in given.items() if tensor is not None}
    shapes = {name: tensor.shape for name, tensor in backbone.tensors().items()}
    found = {name: tensor for name, tensor in present.items() if tensor.shape == shapes[name]}
    unlike = tuple(
        shapes_differ(name, present[name].shape, shapes[name])
        for name in sorted(present.keys() - found.keys())
    )
    known = {prefix + each for theirs in names.values() for each in theirs}
    left = _learnt(stored.keys() - known)
    missing = _learnt(names.keys() - present.keys())
    lacking = tuple(name for name in missing if not backbone.may_lack(name))
    foreign = _foreign(backbone, left, known, prefix)
    return Fit("", found, Misfit(missing, left, unlike), Misfit(lacking, foreign, unlike))


def _learnt(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(name for name in names if not name.endswith(COMPUTED)))


def _foreign(
    backbone: Backbone, left: Iterable[str], known: set[str], prefix: str
) -> tuple[str, ...]:
    """Names in blocks, or rows of blocks, that the backbone has: a deeper model's, or another's."""
    if not backbone.reads_all:  # then stages of its own may be left, under names of any naming
        return ()
    rows = {row for name in known for row in _rows(name.removeprefix(prefix))}
    below = [name.removeprefix(prefix) for name in left if name.startswith(prefix)]
    suspects = [name for name in below if rows & set(_rows(name)) and not NORM.match(name)]
    by_design = set(backbone.left_by_design()) if suspects else set()
    return tuple(prefix + name for name in suspects if name not in by_design)


def _rows(name: str) -> list[str]:
    """What stands before each number: `layers.0.blocks.1` is in `layers.0.blocks`, `s1.b2` in `s1`.

    JAX has `block3/unit07` for it.
    """
    numbers = re.finditer(r"\.[a-z]*\d+(?=\.)|/[a-z]+\d+(?=/)", name)
    return [name[: match.start()] for match in numbers]
