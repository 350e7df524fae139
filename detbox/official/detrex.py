"""Names of the tensors of DINO in detrex (IDEA-Research/detrex) and of Stable-DINO, built on it.

There every decoder layer has heads of its own, the proposals' heads come after them in the same
list, and positions use temperature 10000 and offset -0.5: that is `model=dino_detrex`.
"""

from __future__ import annotations

import re

from detbox.official.registry import Layout, Rules, register_layout

_COMMON: Rules = (
    (r"encoder\.level_embed", (r"transformer.level_embeds",)),
    (r"encoder\.layers\.(\d+)\.attention\.", (r"transformer.encoder.layers.\1.attentions.0.",)),
    (r"encoder\.layers\.(\d+)\.attention_norm\.", (r"transformer.encoder.layers.\1.norms.0.",)),
    (
        r"encoder\.layers\.(\d+)\.feed_forward\.norm\.",
        (r"transformer.encoder.layers.\1.norms.1.",),
    ),
    (
        r"encoder\.layers\.(\d+)\.feed_forward\.linear1\.",
        (r"transformer.encoder.layers.\1.ffns.0.layers.0.0.",),
    ),
    (
        r"encoder\.layers\.(\d+)\.feed_forward\.linear2\.",
        (r"transformer.encoder.layers.\1.ffns.0.layers.1.",),
    ),
    (r"query_source\.content\.", (r"transformer.tgt_embed.",)),
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
    (
        r"decoder\.layers\.(\d+)\.self_attention\.",
        (r"transformer.decoder.layers.\1.attentions.0.attn.",),
    ),
    (r"decoder\.layers\.(\d+)\.self_norm\.", (r"transformer.decoder.layers.\1.norms.0.",)),
    (
        r"decoder\.layers\.(\d+)\.cross_attention\.",
        (r"transformer.decoder.layers.\1.attentions.1.",),
    ),
    (r"decoder\.layers\.(\d+)\.cross_norm\.", (r"transformer.decoder.layers.\1.norms.1.",)),
    (
        r"decoder\.layers\.(\d+)\.feed_forward\.norm\.",
        (r"transformer.decoder.layers.\1.norms.2.",),
    ),
    (
        r"decoder\.layers\.(\d+)\.feed_forward\.linear1\.",
        (r"transformer.decoder.layers.\1.ffns.0.layers.0.0.",),
    ),
    (
        r"decoder\.layers\.(\d+)\.feed_forward\.linear2\.",
        (r"transformer.decoder.layers.\1.ffns.0.layers.1.",),
    ),
    (r"decoder\.norm\.", (r"transformer.decoder.norm.",)),
    (r"decoder\.position\.mlp\.", (r"transformer.decoder.ref_point_head.",)),
    (
        r"decoder\.heads\.class_heads\.(\d+)\.",
        (r"class_embed.\1.", r"transformer.decoder.class_embed.\1."),
    ),
    (
        r"decoder\.heads\.box_heads\.(\d+)\.",
        (r"bbox_embed.\1.", r"transformer.decoder.bbox_embed.\1."),
    ),
    (r"denoiser\.label_table\.", (r"label_enc.",)),
)

DINO: Rules = (
    (r"neck\.projections\.([0-2])\.0\.", (r"neck.convs.\1.conv.",)),
    (r"neck\.projections\.([0-2])\.1\.", (r"neck.convs.\1.norm.",)),
    (r"neck\.projections\.3\.0\.", (r"neck.extra_convs.0.conv.",)),
    (r"neck\.projections\.3\.1\.", (r"neck.extra_convs.0.norm.",)),
    *_COMMON,
)
"""three backbone maps and a coarser level"""
DINO_5SCALE: Rules = (
    (r"neck\.projections\.([0-3])\.0\.", (r"neck.convs.\1.conv.",)),
    (r"neck\.projections\.([0-3])\.1\.", (r"neck.convs.\1.norm.",)),
    (r"neck\.projections\.4\.0\.", (r"neck.extra_convs.0.conv.",)),
    (r"neck\.projections\.4\.1\.", (r"neck.extra_convs.0.norm.",)),
    *_COMMON,
)
"""four backbone maps and a coarser level"""

STABLE_DINO: Rules = (
    (r"encoder\.fusion\.linear\.", (r"transformer.encoder.fusion_layer.0.",)),
    (r"encoder\.fusion\.norm\.", (r"transformer.encoder.fusion_layer.1.",)),
    *DINO,
)
"""IDEA-Research/Stable-DINO, whose encoder mixes all of its layers"""

_RESNET = (
    (r"^body\.(conv1|bn1)\.", r"stem.\1."),
    (r"^body\.layer(\d)\.", lambda match: f"res{int(match[1]) + 1}."),
    (r"\.downsample\.0\.", ".shortcut."),
    (r"\.downsample\.1\.", ".shortcut.norm."),
    (r"\.bn(\d)\.", r".conv\1.norm."),
)


def backbone_name(official: str) -> str:
    """The name of a backbone's tensor; ResNets as in detectron2, others as their authors'."""
    for pattern, replacement in _RESNET:
        official = re.sub(pattern, replacement, official)
    return f"backbone.{official}"


_LABELS = r"denoiser\.label_table\."
register_layout("dino_detrex", Layout(DINO, backbone_name, _LABELS))
register_layout("dino_detrex_5scale", Layout(DINO_5SCALE, backbone_name, _LABELS))
register_layout("stable_dino", Layout(STABLE_DINO, backbone_name, _LABELS))
