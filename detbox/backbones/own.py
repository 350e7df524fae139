"""What the backbones written here share: levels, where weights come from, and official names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor

from detbox.backbones.freezing import ALL, freeze, names_up_to
from detbox.backbones.naming import COMPUTED, Names, Substitutions, renamed
from detbox.backbones.protocol import BackboneModule
from detbox.backbones.settings import check_pretrained
from detbox.errors import SettingError

STRIDES = (4, 8, 16, 32)
"""of the four stages, in input pixels per cell"""


class CommonSettings(NamedTuple):
    """Which maps a backbone returns, and where its weights come from."""

    strides: Sequence[int]
    """rising, some of `STRIDES`"""
    weights: str | None
    """local weights file"""
    pretrained: str
    """auto, true or false; see `detbox.backbones.weights`"""


class OwnBackbone(BackboneModule):
    """A pyramid of four stages that returns the NCHW maps of the chosen strides.

    Images smaller than the coarsest stride are zero-padded to it.

    Args:
        channels: of the four stages' maps.
        chosen: levels to return, and weights.

    Raises:
        ValueError: a stride that no stage has, or a bad `pretrained`.
    """

    substitutions: ClassVar[Substitutions]
    """our names -> official ones, of the authors' release"""
    further: ClassVar[Mapping[str, Substitutions]] = {}
    """our names -> those in further namings of weights files, by a name for messages"""
    copies: ClassVar[Substitutions] = ()
    """Prefixes of official names -> prefixes under which the authors repeat the tensor. `{module}`
    stands for the number of each child of a module of ours."""

    def __init__(self, channels: Sequence[int], chosen: CommonSettings) -> None:
        super().__init__()
        strides = list(chosen.strides)
        if not strides or not set(strides) <= set(STRIDES) or strides != sorted(set(strides)):
            raise SettingError(
                f"backbone.strides are rising strides of {self.model}, some of {list(STRIDES)}; "
                f"got {strides}; choose among them"
            )
        self.weights_file = chosen.weights
        self.pretrained = check_pretrained(chosen.pretrained)
        self.levels = tuple(STRIDES.index(stride) for stride in strides)
        self.strides = tuple(strides)
        self.channels = tuple(channels[level] for level in self.levels)
        self.reads_all = strides[-1] == STRIDES[-1]

    def official_names(self) -> Names:
        """Our name -> names in the authors' detectors, where the release is below `backbone.`."""
        return {
            name: tuple(f"backbone.{each}" for each in names)
            for name, names in self._release().items()
        }

    def constants(self) -> dict[str, Tensor]:
        """Counts of batches."""
        held = dict(self.named_buffers())
        return {
            official: held[name]
            for name, officials in self.official_names().items()
            for official in officials
            if name.endswith(COMPUTED)
        }

    def namings(self) -> dict[str, Names]:
        """Its own names, the authors' and further ones."""
        further: dict[str, Names] = {
            naming: {name: (renamed(name, substitutions),) for name in self.state_dict()}
            for naming, substitutions in self.further.items()
        }
        return {**super().namings(), "authors' release": self._release(), **further}

    def _release(self) -> Names:
        return {name: self._official(name) for name in self.state_dict()}

    def _official(self, name: str) -> tuple[str, ...]:
        name = renamed(name, self.substitutions)
        names = [name]
        for pattern, template in self.copies:
            if match := re.match(pattern, name):
                names += [each + name[match.end() :] for each in self._all(match.expand(template))]
        return tuple(names)

    def _all(self, template: str) -> list[str]:
        found = re.search(r"\{([\w.]+)\}", template)
        if not found:
            return [template]
        children = self.get_submodule(found[1]).named_children()
        return [template.replace(found[0], name) for name, _ in children]


def freeze_stages(backbone: OwnBackbone, stages: int, *, norms: bool = False) -> None:
    """Freeze all up to a stage, and the batch norms there or everywhere, in place.

    Args:
        backbone: to freeze.
        stages: 1 freezes all up to stride 4, 2 up to stride 8 and so on; 0 nothing, -1 all.
        norms: freeze every batch norm.

    Raises:
        ValueError: it has fewer stages.
    """
    stages_of = backbone.get_submodule("stages")
    names = [f"stages.{name}." for name, _ in stages_of.named_children()]
    if stages != ALL and not 0 <= stages <= len(names):
        raise SettingError(
            f"backbone.frozen_stages={stages}, but {backbone.model} has {len(names)} stages up to "
            f"stride {backbone.strides[-1]}; choose 0 to {len(names)}, or -1 for all"
        )
    ends = {0: (), ALL: ("",)}.get(stages, names[max(0, stages - 1) : stages])
    freeze(backbone, names_up_to(backbone, *ends), norms=norms)


def rates(drop_path: float, count: int) -> list[float]:
    """Stochastic depth rates of blocks in a row, rising linearly from 0."""
    return [drop_path * index / max(1, count - 1) for index in range(count)]
