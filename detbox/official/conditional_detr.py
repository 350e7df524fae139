"""Names of Conditional DETR's tensors in the official code and in IDEA-Research/detrex."""

from __future__ import annotations

from detbox.official.detr import DECODER_BLOCKS, ENCODER
from detbox.official.detrex import backbone_name
from detbox.official.registry import Layout, Rules, register_layout

_LAYER = r"decoder\.layers\.(\d+)"
_THEIRS = r"transformer.decoder.layers.\1"

SPLIT_ATTENTION: Rules = (
    (rf"{_LAYER}\.self_attention\.query_content\.", (rf"{_THEIRS}.sa_qcontent_proj.",)),
    (rf"{_LAYER}\.self_attention\.query_position\.", (rf"{_THEIRS}.sa_qpos_proj.",)),
    (rf"{_LAYER}\.self_attention\.key_content\.", (rf"{_THEIRS}.sa_kcontent_proj.",)),
    (rf"{_LAYER}\.self_attention\.key_position\.", (rf"{_THEIRS}.sa_kpos_proj.",)),
    (rf"{_LAYER}\.self_attention\.value\.", (rf"{_THEIRS}.sa_v_proj.",)),
    (rf"{_LAYER}\.self_attention\.out_proj\.", (rf"{_THEIRS}.self_attn.out_proj.",)),
    (rf"{_LAYER}\.cross_attention\.query_content\.", (rf"{_THEIRS}.ca_qcontent_proj.",)),
    (rf"{_LAYER}\.cross_attention\.query_position\.", (rf"{_THEIRS}.ca_qpos_proj.",)),
    (rf"{_LAYER}\.cross_attention\.query_sine\.", (rf"{_THEIRS}.ca_qpos_sine_proj.",)),
    (rf"{_LAYER}\.cross_attention\.key_content\.", (rf"{_THEIRS}.ca_kcontent_proj.",)),
    (rf"{_LAYER}\.cross_attention\.key_position\.", (rf"{_THEIRS}.ca_kpos_proj.",)),
    (rf"{_LAYER}\.cross_attention\.value\.", (rf"{_THEIRS}.ca_v_proj.",)),
    (rf"{_LAYER}\.cross_attention\.out_proj\.", (rf"{_THEIRS}.cross_attn.out_proj.",)),
)
"""attention whose content and position have projections of their own"""

NAMES: Rules = (
    *ENCODER,
    (r"query_source\.position\.", (r"query_embed.",)),
    (r"query_source\.point_head\.", (r"transformer.decoder.ref_point_head.",)),
    *SPLIT_ATTENTION,
    (r"decoder\.position\.scale\.", (r"transformer.decoder.query_scale.",)),
    *DECODER_BLOCKS,
    (r"decoder\.heads\.box_head\.", (r"bbox_embed.",)),
)
"""Atten4Vis/ConditionalDETR"""

_ENCODER, _THEIR_ENCODER = r"encoder\.layers\.(\d+)", r"transformer.encoder.layers.\1"
_SELF, _THEIR_SELF = rf"{_LAYER}\.self_attention", rf"{_THEIRS}.attentions.0"
_CROSS, _THEIR_CROSS = rf"{_LAYER}\.cross_attention", rf"{_THEIRS}.attentions.1"

DETREX: Rules = (
    (r"neck\.projection\.", (r"input_proj.",)),
    (rf"{_ENCODER}\.attention\.", (rf"{_THEIR_ENCODER}.attentions.0.attn.",)),
    (rf"{_ENCODER}\.attention_norm\.", (rf"{_THEIR_ENCODER}.norms.0.",)),
    (rf"{_ENCODER}\.feed_forward\.norm\.", (rf"{_THEIR_ENCODER}.norms.1.",)),
    (rf"{_ENCODER}\.feed_forward\.linear1\.", (rf"{_THEIR_ENCODER}.ffns.0.layers.0.0.",)),
    (rf"{_ENCODER}\.feed_forward\.linear2\.", (rf"{_THEIR_ENCODER}.ffns.0.layers.1.",)),
    (r"query_source\.position\.", (r"query_embed.",)),
    (r"query_source\.point_head\.", (r"transformer.decoder.ref_point_head.",)),
    (rf"{_SELF}\.(query|key)_content\.", (rf"{_THEIR_SELF}.\2_content_proj.",)),
    (rf"{_SELF}\.(query|key)_position\.", (rf"{_THEIR_SELF}.\2_pos_proj.",)),
    (rf"{_SELF}\.value\.", (rf"{_THEIR_SELF}.value_proj.",)),
    (rf"{_SELF}\.out_proj\.", (rf"{_THEIR_SELF}.out_proj.",)),
    (rf"{_CROSS}\.(query|key)_content\.", (rf"{_THEIR_CROSS}.\2_content_proj.",)),
    (rf"{_CROSS}\.(query|key)_position\.", (rf"{_THEIR_CROSS}.\2_pos_proj.",)),
    (rf"{_CROSS}\.query_sine\.", (rf"{_THEIR_CROSS}.query_pos_sine_proj.",)),
    (rf"{_CROSS}\.value\.", (rf"{_THEIR_CROSS}.value_proj.",)),
    (rf"{_CROSS}\.out_proj\.", (rf"{_THEIR_CROSS}.out_proj.",)),
    (rf"{_LAYER}\.self_norm\.", (rf"{_THEIRS}.norms.0.",)),
    (rf"{_LAYER}\.cross_norm\.", (rf"{_THEIRS}.norms.1.",)),
    (rf"{_LAYER}\.feed_forward\.norm\.", (rf"{_THEIRS}.norms.2.",)),
    (rf"{_LAYER}\.feed_forward\.linear1\.", (rf"{_THEIRS}.ffns.0.layers.0.0.",)),
    (rf"{_LAYER}\.feed_forward\.linear2\.", (rf"{_THEIRS}.ffns.0.layers.1.",)),
    (r"decoder\.norm\.", (r"transformer.decoder.post_norm_layer.",)),
    (r"decoder\.position\.scale\.", (r"transformer.decoder.query_scale.",)),
    (r"decoder\.heads\.class_head\.", (r"class_embed.",)),
    (r"decoder\.heads\.box_head\.", (r"bbox_embed.",)),
)
"""IDEA-Research/detrex"""

register_layout("conditional_detr", Layout(NAMES, rank=1))
register_layout("conditional_detr_detrex", Layout(DETREX, backbone_name))
