"""Names of DN-DETR's tensors in the official code, IDEA-Research/DN-DETR (DN-DAB-DETR)."""

from __future__ import annotations

from detbox.official import dab_detr
from detbox.official.registry import Layout, Rules, register_layout

NAMES: Rules = (
    *dab_detr.NAMES,
    (r"(query_source|denoiser)\.label_table\.", (r"label_enc.",)),
)
"""matching and denoising queries read one table"""

register_layout("dn_detr", Layout(NAMES))
