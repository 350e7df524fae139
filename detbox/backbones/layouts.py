"""Names of backbone tensors in other layouts: whole timm models and the authors' own releases."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from detbox.backbones.extractors import classifier_names, feature_info
from detbox.backbones.own import Names, OwnBackbone, renamed
from detbox.backbones.timm import TimmBackbone

COMPUTED = ("num_batches_tracked", "relative_position_index", "attn_mask")
"""ends of names of tensors that are not learnt"""

_SWIN = ((r"^body\.layers_(\d+)\.blocks", r"layers.\1.blocks"), (r"^norms\.", "norm"))
_CONVNEXT = (
    (r"^body\.stem_(\d)", r"downsample_layers.0.\1"),
    (r"^body\.stages_(\d)\.downsample", r"downsample_layers.\1"),
    (r"^body\.stages_(\d)\.blocks", r"stages.\1"),
    (r"\.conv_dw\.", ".dwconv."),
    (r"\.mlp\.fc(\d)\.", r".pwconv\1."),
    (r"^norms\.", "norm"),
)


def official_names(backbone: TimmBackbone | OwnBackbone) -> Names:
    """Each tensor's names in the authors' detectors, below their `backbone.0.`.

    ResNets keep timm's names below `body.`, as torchvision does. Swin and ConvNeXt follow their
    authors' releases; ConvNeXt's unused output norms have no tensor here. Any other timm model
    maps to itself. Backbones written here follow their authors', which are below `backbone.`.
    """
    if isinstance(backbone, OwnBackbone):
        return {
            name: tuple(f"backbone.{each}" for each in names)
            for name, names in backbone.official_names().items()
        }
    family = _family(backbone.model)
    return {name: (_official(name, family),) for name in backbone.state_dict()}


def constants(backbone: TimmBackbone | OwnBackbone) -> dict[str, Tensor]:
    """What the authors' detectors hold beside the tensors of `official_names`, by their names.

    Nothing of it is learnt: indices of Swin's windows, the norms of ConvNeXt's maps that no
    detector reads, counts of batches.
    """
    held = dict(backbone.named_buffers())
    if isinstance(backbone, OwnBackbone):
        return {
            official: held[name]
            for name, officials in official_names(backbone).items()
            for official in officials
            if name.endswith(COMPUTED)
        }
    family = _family(backbone.model)
    found = {_official(name, family): held[name] for name in held if name.endswith(COMPUTED)}
    return found | (_unread_norms(backbone) if family == "convnext_" else {})


def layouts(backbone: TimmBackbone | OwnBackbone) -> dict[str, Names]:
    """Layouts in which a weights file may come, by a name for messages."""
    official = official_names(backbone)
    found: dict[str, Names] = {"detbox backbone": {name: (name,) for name in official}}
    if isinstance(backbone, OwnBackbone):
        further = {layout: backbone.names_in(layout) for layout in backbone.layouts}
        return {**found, "authors' release": backbone.official_names(), **further}
    release: Names = {name: (each.removeprefix("body."),) for name, (each,) in official.items()}
    return {
        "timm model": _classifier(backbone.model, list(official)),
        **found,
        "authors' release": release,
    }


def _family(model: str) -> str:
    return next((f for f in ("swin_", "convnext_") if model.startswith(f)), "")


def _unread_norms(backbone: TimmBackbone) -> dict[str, Tensor]:
    unread = {
        level: stage["num_chs"]
        for level, stage in enumerate(feature_info(backbone.body).info)
        if backbone.norms and level not in backbone.levels
    }
    weights = {f"norm{level}.weight": torch.ones(width) for level, width in unread.items()}
    return weights | {f"norm{level}.bias": torch.zeros(width) for level, width in unread.items()}


def _official(name: str, family: str) -> str:
    if family == "swin_":
        # timm merges patches at the start of a stage, the authors at the end of the one before.
        name = re.sub(r"^body\.layers_(\d+)\.downsample", _stage_before, name)
    name = renamed(name, {"swin_": _SWIN, "convnext_": _CONVNEXT}.get(family, ()))
    return name.removeprefix("body.") if family else name


def _stage_before(match: re.Match[str]) -> str:
    return f"layers.{int(match[1]) - 1}.downsample"


def _classifier(model: str, own: list[str]) -> Names:
    # timm's feature extractors join the first two parts of a name, layers.0 becomes layers_0, or
    # put the model into one.
    whole = {name.replace(".", "_", 1): name for name in classifier_names(model)}
    whole |= {name: name for name in classifier_names(model)}
    parts = {name: name.removeprefix("body.").removeprefix("model.") for name in own}
    return {name: (whole.get(part, part),) for name, part in parts.items()}
