"""What the backbones written here share: levels, where weights come from, and official names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import trunc_normal_
from torch import nn

from detbox.backbones.freezing import ALL, freeze, names_up_to
from detbox.backbones.settings import check_pretrained
from detbox.errors import SettingError
from detbox.messages import listed

HEADS = 8
"""of the attention in CoaT and MPViT"""
STRIDES = (4, 8, 16, 32)
"""of the four stages, in input pixels per cell"""

Rules = tuple[tuple[str, str], ...]
"""patterns and what stands for them, applied one after the other as `re.sub` does"""

Names = dict[str, tuple[str, ...]]
"""our name -> names in another layout, several where it repeats a tensor"""


class Levels(NamedTuple):
    """Which maps a backbone returns, and where its weights come from."""

    strides: Sequence[int]
    """rising, some of `STRIDES`"""
    weights: str | None
    """local weights file"""
    pretrained: str
    """auto, true or false; see `detbox.backbones.weights`"""


class OwnBackbone(nn.Module):
    """A pyramid of four stages that returns the NCHW maps of the chosen strides.

    Images smaller than the coarsest stride are zero-padded to it.

    Args:
        channels: of the four stages' maps.
        chosen: levels to return, and weights.

    Raises:
        ValueError: a stride that no stage has, or a bad `pretrained`.
    """

    model: ClassVar[str]
    """for messages"""
    mean: ClassVar[tuple[float, ...]] = IMAGENET_DEFAULT_MEAN
    std: ClassVar[tuple[float, ...]] = IMAGENET_DEFAULT_STD
    rules: ClassVar[Rules]
    """our names -> official ones, of the authors' release"""
    layouts: ClassVar[Mapping[str, Rules]] = {}
    """further layouts of weights files, by a name for messages"""
    copies: ClassVar[Rules] = ()
    """Prefixes of official names -> prefixes under which the authors repeat the tensor. `{module}`
    stands for the number of each child of a module of ours."""

    def __init__(self, channels: Sequence[int], chosen: Levels) -> None:
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

    def official_names(self) -> Names:
        """Our name -> all names in the authors' release, where parts share it."""
        return {name: self._official(name) for name in self.state_dict()}

    def names_in(self, layout: str) -> Names:
        """Our name -> the name in one of the further `layouts`."""
        return {name: (renamed(name, self.layouts[layout]),) for name in self.state_dict()}

    def _official(self, name: str) -> tuple[str, ...]:
        name = renamed(name, self.rules)
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


def renamed(name: str, rules: Rules) -> str:
    """A name after all rules."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


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


def initialise(module: nn.Module) -> None:
    """Small random weights for linear layers and class tokens, as both papers' authors have it."""
    for name, parameter in module.named_parameters():
        if "class_token" in name:
            trunc_normal_(parameter, std=0.02)
    for part in module.modules():
        if isinstance(part, nn.Linear):
            trunc_normal_(part.weight, std=0.02)
            nn.init.zeros_(part.bias)


def rates(drop_path: float, count: int) -> list[float]:
    """Stochastic depth rates of blocks in a row, rising linearly from 0."""
    return [drop_path * index / max(1, count - 1) for index in range(count)]


def check_stages(widths: Sequence[int], **settings: Sequence[int]) -> None:
    """Refuse settings by stage that are not four positive numbers.

    Raises:
        ValueError: one has another number, or a width does not divide among the heads.
    """
    for name, values in {"widths": widths, **settings}.items():
        if len(values) != len(STRIDES) or min(values) < 1:
            raise SettingError(
                f"backbone.{name} has one positive number for each of {len(STRIDES)} stages; "
                f"got {list(values)}"
            )
    if uneven := [width for width in widths if width % HEADS]:
        raise SettingError(
            f"backbone.widths={listed(widths)} must be multiples of {HEADS}, the number of heads; "
            f"got {uneven[0]}, try {max(1, round(uneven[0] / HEADS)) * HEADS}"
        )
