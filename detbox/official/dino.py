"""Names of DINO's tensors in the official code, IDEA-Research/DINO."""

from __future__ import annotations

from detbox.official.deformable_detr import TRANSFORMER
from detbox.official.registry import Layout, Rules, register_layout

NAMES: Rules = (
    *TRANSFORMER,
    (r"query_source\.content\.", (r"transformer.tgt_embed.",)),
    (r"query_source\.proposals\.output\.", (r"transformer.enc_output.",)),
    (r"query_source\.proposals\.norm\.", (r"transformer.enc_output_norm.",)),
    (r"query_source\.proposals\.class_head\.", (r"transformer.enc_out_class_embed.",)),
    (r"query_source\.proposals\.box_head\.", (r"transformer.enc_out_bbox_embed.",)),
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

register_layout("dino", Layout(NAMES))
