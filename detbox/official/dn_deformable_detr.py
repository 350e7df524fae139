"""Names of DN-Deformable-DETR's tensors in the official code, IDEA-Research/DN-DETR."""

from __future__ import annotations

from detbox.official import dab_deformable_detr

NAMES: tuple[tuple[str, tuple[str, ...]], ...] = (
    *dab_deformable_detr.NAMES,
    (r"denoiser\.label_table\.", (r"label_enc.",)),
)
"""See `detbox.official.layouts.Rules`."""
