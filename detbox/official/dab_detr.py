"""Names of DAB-DETR's tensors in the official code, IDEA-Research/DAB-DETR."""

from __future__ import annotations

from detbox.official.conditional_detr import SPLIT_ATTENTION
from detbox.official.detr import DECODER_BLOCKS, ENCODER
from detbox.official.registry import Layout, Rules, register_layout

NAMES: Rules = (
    *ENCODER,
    (r"encoder\.scale\.", (r"transformer.encoder.query_scale.",)),
    (r"query_source\.anchors\.", (r"refpoint_embed.",)),
    (r"query_source\.patterns\.", (r"transformer.patterns.",)),
    *SPLIT_ATTENTION,
    (r"decoder\.position\.mlp\.", (r"transformer.decoder.ref_point_head.",)),
    (r"decoder\.position\.scale\.", (r"transformer.decoder.query_scale.",)),
    (r"decoder\.position\.size\.", (r"transformer.decoder.ref_anchor_head.",)),
    *DECODER_BLOCKS,
    (r"decoder\.heads\.box_head\.", (r"bbox_embed.", r"transformer.decoder.bbox_embed.")),
)
"""one box head, which the decoder holds too"""

register_layout("dab_detr", Layout(NAMES))
