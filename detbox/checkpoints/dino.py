"""Names of DINO's tensors in the official code, IDEA-Research/DINO."""

from __future__ import annotations

NAMES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"neck\.projections\.(\d+)\.([01])\.", (r"input_proj.\1.\2.",)),
    (r"encoder\.level_embed", (r"transformer.level_embed",)),
    (r"encoder\.layers\.(\d+)\.attention\.", (r"transformer.encoder.layers.\1.self_attn.",)),
    (r"encoder\.layers\.(\d+)\.attention_norm\.", (r"transformer.encoder.layers.\1.norm1.",)),
    (
        r"encoder\.layers\.(\d+)\.feed_forward\.norm\.",
        (r"transformer.encoder.layers.\1.norm2.",),
    ),
    (r"encoder\.layers\.(\d+)\.feed_forward\.", (r"transformer.encoder.layers.\1.",)),
    (r"query_source\.content\.", (r"transformer.tgt_embed.",)),
    (r"query_source\.proposals\.output\.", (r"transformer.enc_output.",)),
    (r"query_source\.proposals\.norm\.", (r"transformer.enc_output_norm.",)),
    (r"query_source\.proposals\.class_head\.", (r"transformer.enc_out_class_embed.",)),
    (r"query_source\.proposals\.box_head\.", (r"transformer.enc_out_bbox_embed.",)),
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
    (r"decoder\.norm\.", (r"transformer.decoder.norm.",)),
    (r"decoder\.position\.mlp\.", (r"transformer.decoder.ref_point_head.",)),
    (
        r"decoder\.heads\.class_head\.",
        (r"class_embed.{layer}.", r"transformer.decoder.class_embed.{layer}."),
    ),
    (
        r"decoder\.heads\.box_head\.",
        (r"bbox_embed.{layer}.", r"transformer.decoder.bbox_embed.{layer}."),
    ),
    (r"denoiser\.label_table\.", (r"label_enc.",)),
)
"""Prefix of ours -> prefixes of theirs, first hit wins; `{layer}`: once per decoder layer."""
