"""Names of DETR's tensors in the official code, facebookresearch/detr."""

from __future__ import annotations

from detbox.official.registry import Layout, Rules, register_layout

ENCODER: Rules = (
    (r"neck\.projection\.", (r"input_proj.",)),
    (r"encoder\.layers\.(\d+)\.attention\.", (r"transformer.encoder.layers.\1.self_attn.",)),
    (r"encoder\.layers\.(\d+)\.attention_norm\.", (r"transformer.encoder.layers.\1.norm1.",)),
    (
        r"encoder\.layers\.(\d+)\.feed_forward\.norm\.",
        (r"transformer.encoder.layers.\1.norm2.",),
    ),
    (r"encoder\.layers\.(\d+)\.feed_forward\.", (r"transformer.encoder.layers.\1.",)),
)
"""neck and encoder layers of all dense models"""

DECODER_BLOCKS: Rules = (
    (r"decoder\.layers\.(\d+)\.self_norm\.", (r"transformer.decoder.layers.\1.norm1.",)),
    (r"decoder\.layers\.(\d+)\.cross_norm\.", (r"transformer.decoder.layers.\1.norm2.",)),
    (
        r"decoder\.layers\.(\d+)\.feed_forward\.norm\.",
        (r"transformer.decoder.layers.\1.norm3.",),
    ),
    (r"decoder\.layers\.(\d+)\.feed_forward\.", (r"transformer.decoder.layers.\1.",)),
    (r"decoder\.norm\.", (r"transformer.decoder.norm.",)),
    (r"decoder\.heads\.class_head\.", (r"class_embed.",)),
)
"""what the decoders of all dense models share"""

NAMES: Rules = (
    *ENCODER,
    (r"encoder\.norm\.", (r"transformer.encoder.norm.",)),
    (r"query_source\.position\.", (r"query_embed.",)),
    (r"decoder\.layers\.(\d+)\.self_attention\.", (r"transformer.decoder.layers.\1.self_attn.",)),
    (
        r"decoder\.layers\.(\d+)\.cross_attention\.",
        (r"transformer.decoder.layers.\1.multihead_attn.",),
    ),
    *DECODER_BLOCKS,
    (r"decoder\.heads\.box_head\.", (r"bbox_embed.",)),
)
"""post-norm and pre-norm, which has a norm after the encoder"""

register_layout("detr", Layout(NAMES))
