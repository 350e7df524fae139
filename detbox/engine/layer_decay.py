"""Layer-wise decay of the learning rate: early blocks of a backbone learn more slowly."""

from __future__ import annotations

import re

from torch import nn

from detbox.backbones.extractors import family
from detbox.backbones.timm import TimmBackbone
from detbox.errors import SettingError
from detbox.messages import some

FAMILIES = (
    *("vision_transformer", "deit", "eva"),
    *("swin_transformer", "swin_transformer_v2", "convnext"),
)
"""timm's modules whose models are one row of blocks"""
BLOCK = re.compile(r"^backbone\.body\.(model\.)?((layers|stages)_\d+\.)?blocks\.\d+\.")


def blocks_above(detector: nn.Module) -> dict[str, int]:
    """How many steps below the end of its backbone each parameter is.

    The last block is 1 below the end, the first of n is n below it, the embedding before it
    n + 1 (Clark et al., ICLR 2020; ViTDet, Li et al., ECCV 2022). What stands between two blocks
    counts with the second, what stands after the last one is at 0.

    Args:
        detector: with a `backbone`.

    Returns:
        Steps by name, for the parameters of the backbone.

    Raises:
        ValueError: the backbone is no ViT, Swin or ConvNeXt from timm, whose blocks have a name.
    """
    own = [name for name, _ in detector.named_parameters() if name.startswith("backbone.")]
    backbone = detector.get_submodule("backbone")
    if not isinstance(backbone, TimmBackbone) or family(backbone.model) not in FAMILIES:
        raise SettingError(
            "optimizer.layer_decay needs a backbone that is a row of blocks (ViT, Swin, ConvNeXt), "
            f"got parameters such as {some(own, 2)}; try optimizer.layer_decay=1"
        )
    found = [match[0] if (match := BLOCK.match(name)) else "" for name in own]
    blocks = [block for block in dict.fromkeys(found) if block]
    above: dict[str, int] = {}
    current = 0
    for name, block in zip(reversed(own), reversed(found), strict=True):
        if block:
            current = len(blocks) - blocks.index(block)
        above[name] = current
    first = next(index for index, block in enumerate(found) if block)
    return above | dict.fromkeys(own[:first], len(blocks) + 1)
