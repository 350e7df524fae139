"""The one report on stored tensors that do not fit those that are to be filled."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from detbox.messages import some


@dataclass(frozen=True)
class Misfit:
    """What does not fit; true where there is anything."""

    missing: tuple[str, ...] = ()
    """names that are wanted and not stored"""
    left: tuple[str, ...] = ()
    """stored names that nothing asks for"""
    unlike: tuple[str, ...] = ()
    """tensors of another shape, or otherwise other than they should be; one phrase each"""

    def __bool__(self) -> bool:
        """Whether anything does not fit."""
        return bool(self.missing or self.left or self.unlike)

    def __str__(self) -> str:
        """Part of a sentence: how many tensors of each kind, and the first names."""
        kinds = {"missing": self.missing, "left over": self.left, "unlike": self.unlike}
        told = [f"{len(names)} {kind} ({some(names)})" for kind, names in kinds.items() if names]
        return ", ".join(told) or "nothing"


def misfit(
    wanted: Mapping[str, Tensor], stored: Mapping[str, Tensor], by_class: Collection[str] = ()
) -> Misfit:
    """Hold stored tensors against the wanted ones of the same names.

    Args:
        wanted: such as a module's state dict; only shapes are read.
        stored: such as a file's tensors.
        by_class: names of tensors with a row per class: these may be missing, or differ in rows.
    """
    shared = wanted.keys() & stored.keys()
    return Misfit(
        missing=tuple(sorted(wanted.keys() - shared - set(by_class))),
        left=tuple(sorted(stored.keys() - shared)),
        unlike=tuple(
            shapes_differ(name, stored[name].shape, wanted[name].shape)
            for name in sorted(shared)
            if stored[name].shape[name in by_class :] != wanted[name].shape[name in by_class :]
        ),
    )


def shapes_differ(name: str, stored: Sequence[int], wanted: Sequence[int]) -> str:
    """The phrase on one tensor of another shape: `head.bias (91,), expected (80,)`."""
    return f"{name} {tuple(stored)}, expected {tuple(wanted)}"
