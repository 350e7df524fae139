"""Names of DAB-Deformable-DETR's tensors in the official code, IDEA-Research/DAB-DETR."""

from __future__ import annotations

from detbox.official.deformable_detr import HEADS, TRANSFORMER
from detbox.official.registry import Layout, Rules, register_layout

NAMES: Rules = (
    *TRANSFORMER,
    (r"query_source\.content\.", (r"tgt_embed.",)),
    (r"query_source\.anchors\.", (r"refpoint_embed.",)),
    (r"decoder\.position\.mlp\.", (r"transformer.decoder.ref_point_head.",)),
    (r"decoder\.position\.scale\.", (r"transformer.decoder.query_scale.",)),
    *HEADS,
)

register_layout("dab_deformable_detr", Layout(NAMES))
