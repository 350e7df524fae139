"""Names of DN-Deformable-DETR's tensors in the official code, IDEA-Research/DN-DETR."""

from __future__ import annotations

from detbox.official import dab_deformable_detr
from detbox.official.registry import Layout, Rules, register_layout

NAMES: Rules = (
    *dab_deformable_detr.NAMES,
    (r"denoiser\.label_table\.", (r"label_enc.",)),
)

register_layout("dn_deformable_detr", Layout(NAMES))
