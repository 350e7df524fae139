"""Names of DN-DETR's tensors in the official code, IDEA-Research/DN-DETR (DN-DAB-DETR)."""

from __future__ import annotations

from detbox.official import dab_detr

NAMES: tuple[tuple[str, tuple[str, ...]], ...] = (
    *dab_detr.NAMES,
    (r"(query_source|denoiser)\.label_table\.", (r"label_enc.",)),
)
"""matching and denoising queries read one table; see `detbox.official.layouts.Rules`"""
