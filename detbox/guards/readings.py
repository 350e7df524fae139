"""What tensors hold, in a line each: how many values are not finite, and the range of the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor

MEANT = "anchors"
"""whose logits are +infinity at places of no use, on purpose"""


class Reading(NamedTuple):
    """One tensor of one module at one moment."""

    module: str
    """its path; `batch`: what came from the loader"""
    tensor: str
    """`output`, `weight`, `gradient of input boxes`, ..."""
    shape: tuple[int, ...]
    bad: int
    """values that are not finite"""
    low: float
    """least finite value; NaN where there is none"""
    high: float
    """largest finite value"""

    @property
    def size(self) -> int:
        """Values in all."""
        total = 1
        for side in self.shape:
            total *= side
        return total

    @property
    def range(self) -> str:
        """Of the finite values."""
        return f"{self.low:.3g} .. {self.high:.3g}" if self.low == self.low else "none is finite"

    def __str__(self) -> str:
        """`MODULE: output (2, 300, 256), 5 of 153600 values not finite`."""
        return (
            f"{self.module}: {self.tensor} {self.shape}, "
            f"{self.bad} of {self.size} values not finite"
        )


def read(module: str, name: str, tensor: Tensor) -> Reading:
    """Look into a tensor; waits for the device."""
    values = tensor.detach().float()
    finite = values.isfinite()
    bad = int((~finite & ~values.isposinf()).sum() if _is_meant(name) else (~finite).sum())
    kept = values[finite]
    low, high = map(float, kept.aminmax()) if len(kept) else (float("nan"), float("nan"))
    return Reading(module, name, tuple(tensor.shape), bad, low, high)


def floats(tree: Any, label: str = "") -> Iterator[tuple[str, Tensor]]:
    """Label and tensor of every floating tensor in named tuples, mappings and sequences."""
    if isinstance(tree, Tensor):
        if tree.is_floating_point():
            yield label, tree
    elif isinstance(tree, Mapping):
        for key, each in tree.items():
            yield from floats(each, f"{label} {key}".strip())
    elif isinstance(tree, tuple) and hasattr(tree, "_fields"):
        for key, each in zip(tree._fields, tree, strict=True):
            yield from floats(each, f"{label}.{key}".strip("."))
    elif isinstance(tree, (tuple, list)):
        for index, each in enumerate(tree):
            yield from floats(each, f"{label}[{index}]")


def changed(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same tree with every floating tensor replaced."""
    if isinstance(tree, Tensor):
        return change(tree) if tree.is_floating_point() else tree
    if type(tree) is dict:
        return {key: changed(each, change) for key, each in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(changed(each, change) for each in tree))
    if type(tree) in (tuple, list):
        return type(tree)(changed(each, change) for each in tree)
    return tree


def _is_meant(name: str) -> bool:
    return name.replace(".", " ").split()[-1] == MEANT
