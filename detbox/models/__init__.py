"""One file per paper: its parts, then its registered recipe. Importing registers the recipes."""

from detbox.models import (
    conditional_detr,
    dab_deformable_detr,
    dab_detr,
    deformable_detr,
    detr,
    dino,
    dn_deformable_detr,
    dn_detr,
    stable_dino,
)

__all__ = [
    "conditional_detr",
    "dab_deformable_detr",
    "dab_detr",
    "deformable_detr",
    "detr",
    "dino",
    "dn_deformable_detr",
    "dn_detr",
    "stable_dino",
]
