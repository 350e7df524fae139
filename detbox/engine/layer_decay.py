"""Layer-wise decay of the learning rate: early layers of a backbone learn more slowly."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn

from detbox.backbones.timm import TimmBackbone
from detbox.backbones.timm_names import names_in_classifier
from detbox.errors import SettingError
from detbox.messages import some

NOWHERE = "unmatched"
"""a parameter that no model has: timm puts it where it puts all that it knows no layer of"""


def blocks_above(detector: nn.Module) -> dict[str, int]:
    """How many steps below the end of its backbone each parameter is.

    The last layer is 1 below the end, the first of n is n below it, the stem before it n + 1
    (Clark et al., ICLR 2020; ViTDet, Li et al., ECCV 2022). What a layer is, timm says of each
    family: a block in most, a stage in PVT. Parameters that timm knows no layer of count with the
    next one in order, after the last layer they are at 0.

    Args:
        detector: with a `backbone`.

    Returns:
        Steps by name, for the parameters of the backbone.

    Raises:
        SettingError: the backbone is not timm's, or timm does not say what its layers are.
    """
    own = [name for name, _ in detector.named_parameters() if name.startswith("backbone.")]
    backbone = detector.get_submodule("backbone")
    if not isinstance(backbone, TimmBackbone):
        raise _refusal(f"parameters such as {some(own, 2)}")
    by_name = _layers(backbone.model)
    whole = names_in_classifier([name.removeprefix("backbone.") for name in own], backbone.model)
    found = [by_name.get(name) for (name,) in whole.values()]  # None: of none
    present = sorted({layer for layer in found if layer is not None})
    if not present:
        raise _refusal(f"backbone.model={backbone.model}")
    steps = {layer: len(present) - rank for rank, layer in enumerate(present)}
    above: dict[str, int] = {}
    current = 0
    for name, layer in zip(reversed(own), reversed(found), strict=True):
        current = current if layer is None else steps[layer]
        above[name] = current
    return above


@cache
def _layers(model: str) -> dict[str, int]:
    """The layer of each parameter of a whole timm model that has one; a head has none."""
    from timm import create_model
    from timm.models import group_parameters

    with torch.device("meta"):
        whole: Any = create_model(model)
        whole.register_parameter(NOWHERE, nn.Parameter(torch.empty(0)))
    try:
        matcher = whole.group_matcher(coarse=False)
    except AttributeError:  # a few families have none
        return {}
    layers = group_parameters(whole, matcher, reverse=True)
    return {name: layer for name, layer in layers.items() if layer != layers[NOWHERE]}


def _refusal(got: str) -> SettingError:
    return SettingError(
        "optimizer.layer_decay needs a backbone of timm whose layers timm tells apart, as it does "
        f"in ViT, Swin, ConvNeXt, ResNet or PVT, got {got}; try optimizer.layer_decay=1"
    )
