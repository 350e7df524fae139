"""Layer-wise decay of the learning rate: early blocks of a backbone learn more slowly."""

from __future__ import annotations

import re
from collections.abc import Sequence

BLOCK = re.compile(r"^backbone\.body\.(model\.)?((layers|stages)_\d+\.)?blocks\.\d+\.")


def blocks_above(names: Sequence[str]) -> dict[str, int]:
    """How many steps below the end of its backbone each parameter is.

    The last block is 1 below the end, the first of n is n below it, the embedding before it
    n + 1 (Clark et al., ICLR 2020; ViTDet, Li et al., ECCV 2022). What stands between two blocks
    counts with the second, what stands after the last one is at 0.

    Args:
        names: of a detector's parameters, in the order of the forward pass.

    Returns:
        Steps by name, for the parameters of the backbone.

    Raises:
        ValueError: the backbone is no ViT, Swin or ConvNeXt from timm, whose blocks have a name.
    """
    own = [name for name in names if name.startswith("backbone.")]
    found = [match[0] if (match := BLOCK.match(name)) else "" for name in own]
    blocks = [block for block in dict.fromkeys(found) if block]
    if not blocks:
        raise ValueError(
            "optimizer.layer_decay needs a backbone that is a row of blocks (ViT, Swin, ConvNeXt), "
            f"got parameters such as {', '.join(own[:2]) or 'none'}; try optimizer.layer_decay=1"
        )
    above: dict[str, int] = {}
    current = 0
    for name, block in zip(reversed(own), reversed(found), strict=True):
        if block:
            current = len(blocks) - blocks.index(block)
        above[name] = current
    first = next(index for index, block in enumerate(found) if block)
    return above | dict.fromkeys(own[:first], len(blocks) + 1)
