"""Files of a detector whose layers have adapters: merged weights as the model, the rest beside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

ADAPTER = "adapter"
"""in a run's file: the tensors that only an adapted detector has"""
DOWN, UP = "lora_A.default.weight", "lora_B.default.weight"
"""behind an adapted layer's name: (rank, in) and (out, rank), as peft calls them"""
WRAPPED = "base_layer."
"""behind it, before the layer's own names"""


@dataclass(frozen=True)
class Adapter:
    """What the layers of a detector compute besides: `scale * up(down(x))` (Hu et al., 2022)."""

    scale: float
    told: str
    """how many there are, for people"""

    def merged(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict of the detector without adapters that computes the same."""
        plain = {_plain(name): each for name, each in state.items() if not _is_extra(name)}
        for name, up in state.items():
            if name.endswith(UP):
                layer = name.removesuffix(UP)
                base = _weight(layer + WRAPPED, state)
                delta = self.scale * (up @ state[layer + DOWN])
                plain[_plain(base)] = state[base] + delta
        return plain


def beside(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What merging loses or renames: adapters, and the layers that they are added to."""
    return {name: each for name, each in state.items() if _is_extra(name) or _plain(name) != name}


def joined(plain: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of the adapted detector, from the two halves of a file."""
    replaced = {_plain(name) for name in kept}
    return {**{name: each for name, each in plain.items() if name not in replaced}, **kept}


def _plain(name: str) -> str:
    return name.replace(f".{WRAPPED}", ".")


def _is_extra(name: str) -> bool:
    return name.endswith((DOWN, UP))


def _weight(layer: str, state: Mapping[str, Tensor]) -> str:
    """Of a linear layer, or of attention's joint projection."""
    return next(n for n in (f"{layer}weight", f"{layer}in_proj_weight") if n in state)
