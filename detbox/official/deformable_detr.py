"""Names of Deformable DETR's tensors in the official code, fundamentalvision/Deformable-DETR."""

from __future__ import annotations

from detbox.official.registry import Layout, Rules, register_layout

TRANSFORMER: Rules = (
    (r"neck\.projections\.(\d+)\.([01])\.", (r"input_proj.\1.\2.",)),
    (r"encoder\.level_embed", (r"transformer.level_embed",)),
    (r"encoder\.layers\.(\d+)\.attention\.", (r"transformer.encoder.layers.\1.self_attn.",)),
    (r"encoder\.layers\.(\d+)\.attention_norm\.", (r"transformer.encoder.layers.\1.norm1.",)),
    (
        r"encoder\.layers\.(\d+)\.feed_forward\.norm\.",
        (r"transformer.encoder.layers.\1.norm2.",),
    ),
    (r"encoder\.layers\.(\d+)\.feed_forward\.", (r"transformer.encoder.layers.\1.",)),
    (r"decoder\.layers\.(\d+)\.self_attention\.", (r"transformer.decoder.layers.\1.self_attn.",)),
    (r"decoder\.layers\.(\d+)\.self_norm\.", (r"transformer.decoder.layers.\1.norm2.",)),
    (
        r"decoder\.layers\.(\d+)\.cross_attention\.",
        (r"transformer.decoder.layers.\1.cross_attn.",),
    ),
    (r"decoder\.layers\.(\d+)\.cross_norm\.", (r"transformer.decoder.layers.\1.norm1.",)),
    (
        r"decoder\.layers\.(\d+)\.feed_forward\.norm\.",
        (r"transformer.decoder.layers.\1.norm3.",),
    ),
    (r"decoder\.layers\.(\d+)\.feed_forward\.", (r"transformer.decoder.layers.\1.",)),
)
"""neck, encoder and decoder layers of all deformable models"""

_QUERIES: Rules = (
    (r"query_source\.embedding\.", (r"query_embed.",)),
    (r"query_source\.reference\.", (r"transformer.reference_points.",)),
)

HEADS: Rules = (
    (r"decoder\.heads\.class_heads\.(\d+)\.", (r"class_embed.\1.",)),
    (
        r"decoder\.heads\.box_heads\.(\d+)\.",
        (r"bbox_embed.\1.", r"transformer.decoder.bbox_embed.\1."),
    ),
)
"""heads of each layer, of which the boxes' are also the decoder's"""

PLAIN: Rules = (
    *TRANSFORMER,
    *_QUERIES,
    (r"decoder\.heads\.class_head\.", (r"class_embed.{layer}.",)),
    (r"decoder\.heads\.box_head\.", (r"bbox_embed.{layer}.",)),
)
"""one pair of heads"""

REFINE: Rules = (*TRANSFORMER, *_QUERIES, *HEADS)
"""iterative refinement"""

TWO_STAGE: Rules = (
    *TRANSFORMER,
    (r"query_source\.proposals\.output\.", (r"transformer.enc_output.",)),
    (r"query_source\.proposals\.norm\.", (r"transformer.enc_output_norm.",)),
    (
        r"query_source\.proposals\.class_head\.",
        (r"class_embed.{layers}.", r"transformer.decoder.class_embed.{layers}."),
    ),
    (
        r"query_source\.proposals\.box_head\.",
        (r"bbox_embed.{layers}.", r"transformer.decoder.bbox_embed.{layers}."),
    ),
    (r"query_source\.projection\.", (r"transformer.pos_trans.",)),
    (r"query_source\.norm\.", (r"transformer.pos_trans_norm.",)),
    (
        r"decoder\.heads\.class_heads\.(\d+)\.",
        (r"class_embed.\1.", r"transformer.decoder.class_embed.\1."),
    ),
    HEADS[1],
)
"""refinement and two stages: the proposals' heads come after the layers' in the same lists"""

register_layout("deformable_detr", Layout(PLAIN))
register_layout("deformable_detr_refine", Layout(REFINE))
register_layout("deformable_detr_two_stage", Layout(TWO_STAGE))
