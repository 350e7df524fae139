"""Where the tensors of our detectors are in those of transformers.

Each rule: prefix of our name -> prefixes there, whose tensors are joined along the first dimension;
first hit wins and the rest of the name is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

Rules = tuple[tuple[str, tuple[str, ...]], ...]

ENCODER, DECODER = r"encoder\.layers\.(\d+)\.", r"decoder\.layers\.(\d+)\."
THEIR_ENCODER, THEIR_DECODER = r"model.encoder.layers.\1.", r"model.decoder.layers.\1."


def joined(ours: str, theirs: str) -> Rules:
    """Attention whose query, key and value are one matrix of ours."""
    parts = tuple(rf"{theirs}{part}_proj." for part in "qkv")
    return ((rf"{ours}in_proj_", parts), (rf"{ours}out_proj\.", (rf"{theirs}o_proj.",)))


def block(ours: str, theirs: str, mlp: str = "mlp.") -> Rules:
    """Norm after self-attention, and feed-forward with its norm."""
    return (
        (rf"{ours}(attention|self)_norm\.", (rf"{theirs}self_attn_layer_norm.",)),
        (rf"{ours}cross_norm\.", (rf"{theirs}encoder_attn_layer_norm.",)),
        (rf"{ours}feed_forward\.norm\.", (rf"{theirs}final_layer_norm.",)),
        (rf"{ours}feed_forward\.linear1\.", (rf"{theirs}{mlp}fc1.",)),
        (rf"{ours}feed_forward\.linear2\.", (rf"{theirs}{mlp}fc2.",)),
        (rf"{ours}feed_forward\.activation\.", (rf"{theirs}{mlp}activation_fn.",)),
    )


def split(ours: str, theirs: str, renamed: Mapping[str, str]) -> Rules:
    """Attention whose content and position have projections of their own."""
    return tuple((rf"{ours}{own}\.", (rf"{theirs}{their}.",)) for own, their in renamed.items())


SPLIT = {
    "query_content": "q_content_proj",
    "query_position": "q_pos_proj",
    "key_content": "k_content_proj",
    "key_position": "k_pos_proj",
    "value": "v_proj",
    "out_proj": "o_proj",
}
ONE_LEVEL: Rules = (
    (r"neck\.projection\.", ("model.input_projection.",)),
    (r"decoder\.norm\.", ("model.decoder.layernorm.",)),
)
DENSE: Rules = (
    *ONE_LEVEL,
    *joined(rf"{ENCODER}attention\.", rf"{THEIR_ENCODER}self_attn."),
    *block(ENCODER, THEIR_ENCODER),
    *block(DECODER, THEIR_DECODER),
    (r"query_source\.position\.", ("model.query_position_embeddings.",)),
    (r"decoder\.heads\.class_head\.", ("class_labels_classifier.",)),
    (r"decoder\.heads\.box_head\.", ("bbox_predictor.",)),
)
DETR: Rules = (
    *joined(rf"{DECODER}self_attention\.", rf"{THEIR_DECODER}self_attn."),
    *joined(rf"{DECODER}cross_attention\.", rf"{THEIR_DECODER}encoder_attn."),
    *DENSE,
)
CONDITIONAL: Rules = (
    *split(rf"{DECODER}self_attention\.", rf"{THEIR_DECODER}self_attn.", SPLIT),
    *split(
        rf"{DECODER}cross_attention\.",
        rf"{THEIR_DECODER}encoder_attn.",
        SPLIT | {"query_sine": "q_pos_sine_proj"},
    ),
    *DENSE,
    (r"query_source\.point_head\.", ("model.decoder.ref_point_head.",)),
    (r"decoder\.position\.scale\.", ("model.decoder.query_scale.",)),
)
DAB_SPLIT = {
    "query_content": "{}_attn_query_content_proj",
    "query_position": "{}_attn_query_pos_proj",
    "query_sine": "{}_attn_query_pos_sine_proj",
    "key_content": "{}_attn_key_content_proj",
    "key_position": "{}_attn_key_pos_proj",
    "value": "{}_attn_value_proj",
    "out_proj": "{}_attn.output_proj",
}
DAB: Rules = (
    *ONE_LEVEL,
    (rf"{ENCODER}attention\.out_proj\.", (rf"{THEIR_ENCODER}self_attn.out_proj.",)),
    *joined(rf"{ENCODER}attention\.", rf"{THEIR_ENCODER}self_attn."),
    *block(ENCODER, THEIR_ENCODER, mlp=""),
    (rf"{DECODER}(self|cross)_norm\.", (rf"{THEIR_DECODER}\2_attn.\2_attn_layer_norm.",)),
    *(
        (rf"{DECODER}(self|cross)_attention\.{own}\.", (rf"{THEIR_DECODER}\2_attn.{their}.",))
        for own, their in ((own, their.format(r"\2")) for own, their in DAB_SPLIT.items())
    ),
    *block(rf"{DECODER}", rf"{THEIR_DECODER}mlp.", mlp=""),
    (r"encoder\.scale\.", ("model.encoder.query_scale.",)),
    (r"query_source\.anchors\.", ("model.query_refpoint_embeddings.",)),
    (r"query_source\.patterns\.", ("model.patterns.",)),
    (r"decoder\.position\.mlp\.", ("model.decoder.ref_point_head.",)),
    (r"decoder\.position\.scale\.", ("model.decoder.query_scale.",)),
    (r"decoder\.position\.size\.", ("model.decoder.ref_anchor_head.",)),
    (r"decoder\.heads\.class_head\.", ("class_embed.",)),
    (r"decoder\.heads\.box_head\.", ("bbox_predictor.",)),
)
DEFORMABLE: Rules = (
    (r"neck\.projections\.", ("model.input_proj.",)),
    (r"encoder\.level_embed", ("model.level_embed",)),
    (rf"{ENCODER}attention\.", (rf"{THEIR_ENCODER}self_attn.",)),
    *block(ENCODER, THEIR_ENCODER),
    *joined(rf"{DECODER}self_attention\.", rf"{THEIR_DECODER}self_attn."),
    (rf"{DECODER}cross_attention\.", (rf"{THEIR_DECODER}encoder_attn.",)),
    *block(DECODER, THEIR_DECODER),
    (r"query_source\.embedding\.", ("model.query_position_embeddings.",)),
    (r"query_source\.reference\.", ("model.reference_points.",)),
    (r"query_source\.proposals\.output\.", ("model.enc_output.",)),
    (r"query_source\.proposals\.norm\.", ("model.enc_output_norm.",)),
    (r"query_source\.proposals\.class_head\.", ("class_embed.{last}.",)),
    (r"query_source\.proposals\.box_head\.", ("bbox_embed.{last}.",)),
    (r"query_source\.projection\.", ("model.pos_trans.",)),
    (r"query_source\.norm\.", ("model.pos_trans_norm.",)),
    (r"decoder\.heads\.class_heads\.", ("class_embed.",)),
    (r"decoder\.heads\.box_heads\.", ("bbox_embed.",)),
    (r"decoder\.heads\.class_head\.", ("class_embed.0.",)),
    (r"decoder\.heads\.box_head\.", ("bbox_embed.0.",)),
)


def their_names(name: str, rules: Rules, last: int) -> list[str]:
    """The peer's tensors that one of ours is joined from.

    Args:
        name: of our tensor.
        rules: of the model.
        last: number of decoder layers, under which the peer keeps the proposals' heads.

    Raises:
        KeyError: no rule.
    """
    for pattern, theirs in rules:
        if match := re.match(pattern, name):
            rest = name[match.end() :]
            return [match.expand(each).replace("{last}", str(last)) + rest for each in theirs]
    raise KeyError(f"{name} has no name in transformers; add a rule to {__file__}")


def taken(theirs: Mapping[str, Tensor], names: list[str], rules: Rules, last: int) -> dict:
    """Our tensors of these names, made from the peer's."""
    return {
        name: torch.cat([theirs[each] for each in their_names(name, rules, last)]) for name in names
    }
