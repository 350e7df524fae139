"""Losses: (predictions, targets, matches) -> sum over the batch. Importing registers them."""

from detbox.losses import (
    align,
    boxes,
    cross_entropy,
    focal,
    ia_bce,
    position_supervised,
    varifocal,
)

__all__ = [
    "align",
    "boxes",
    "cross_entropy",
    "focal",
    "ia_bce",
    "position_supervised",
    "varifocal",
]
