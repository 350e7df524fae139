"""Names of timm's tensors in whole timm models, and in Swin's and ConvNeXt's releases.

timm's feature extractors, which our backbones hold as `body`, name parts otherwise than its models.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from detbox.backbones.extractors import classifier_names
from detbox.backbones.naming import Names, renamed

CONVNEXT = "convnext_"
SWIN = "swin_"

_RULES = {
    SWIN: ((r"^body\.layers_(\d+)\.blocks", r"layers.\1.blocks"), (r"^norms\.", "norm")),
    CONVNEXT: (
        (r"^body\.stem_(\d)", r"downsample_layers.0.\1"),
        (r"^body\.stages_(\d)\.downsample", r"downsample_layers.\1"),
        (r"^body\.stages_(\d)\.blocks", r"stages.\1"),
        (r"\.conv_dw\.", ".dwconv."),
        (r"\.mlp\.fc(\d)\.", r".pwconv\1."),
        (r"^norms\.", "norm"),
    ),
}


def release_of(model: str) -> str:
    """How names start of models whose authors' release names parts otherwise; empty for others."""
    return next((start for start in _RULES if model.startswith(start)), "")


def official_name(name: str, model: str) -> str:
    """A tensor's name in the authors' detectors, below their `backbone.0.`.

    ResNets keep timm's names below `body.`, as torchvision does, and so does any model whose
    authors have no names of their own.
    """
    release = release_of(model)
    if release == SWIN:
        # timm merges patches at the start of a stage, the authors at the end of the one before.
        name = re.sub(r"^body\.layers_(\d+)\.downsample", _stage_before, name)
    return renamed(name, _RULES[release]).removeprefix("body.") if release else name


def names_in_classifier(names: Iterable[str], model: str) -> Names:
    """Our name -> the name in the whole timm model."""
    # timm's feature extractors join the first two parts of a name, layers.0 becomes layers_0, or
    # put the model into one.
    whole = {name.replace(".", "_", 1): name for name in classifier_names(model)}
    whole |= {name: name for name in classifier_names(model)}
    parts = {name: name.removeprefix("body.").removeprefix("model.") for name in names}
    return {name: (whole.get(part, part),) for name, part in parts.items()}


def _stage_before(match: re.Match[str]) -> str:
    return f"layers.{int(match[1]) - 1}.downsample"
