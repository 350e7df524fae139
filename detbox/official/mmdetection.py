"""Names of the DETR family's tensors in OpenMMLab's mmdetection 3.x, with a ResNet.

Heads count COCO's 80 classes in the order of the annotations. Convolutions in front of a norm have
no bias there: it counts as zero, and is not written where it is.
"""

from __future__ import annotations

from detbox.official.registry import Layout, Rules, register_layout

_ENCODER, _DECODER = r"encoder\.layers\.(\d+)", r"decoder\.layers\.(\d+)"
_THEIR_ENCODER, _THEIR_DECODER = r"encoder.layers.\1", r"decoder.layers.\1"

_FEED_FORWARD: Rules = tuple(
    (rf"{ours}\.feed_forward\.{name}\.", (f"{theirs}.{place}.",))
    for ours, theirs, norm in (
        (_ENCODER, _THEIR_ENCODER, "norms.1"),
        (_DECODER, _THEIR_DECODER, "norms.2"),
    )
    for name, place in (
        ("norm", norm),
        ("linear1", "ffn.layers.0.0"),
        ("activation", "ffn.layers.0.1"),
        ("linear2", "ffn.layers.1"),
    )
)
_LAYERS: Rules = (
    (rf"{_ENCODER}\.attention_norm\.", (rf"{_THEIR_ENCODER}.norms.0.",)),
    (rf"{_DECODER}\.self_norm\.", (rf"{_THEIR_DECODER}.norms.0.",)),
    (rf"{_DECODER}\.cross_norm\.", (rf"{_THEIR_DECODER}.norms.1.",)),
    *_FEED_FORWARD,
)
"""norms and perceptrons of every model"""

_DENSE: Rules = (
    (r"neck\.projection\.", (r"neck.convs.0.conv.",)),
    (rf"{_ENCODER}\.attention\.", (rf"{_THEIR_ENCODER}.self_attn.attn.",)),
    *_LAYERS,
    (r"decoder\.norm\.", (r"decoder.post_norm.",)),
    (r"decoder\.heads\.class_head\.", (r"bbox_head.fc_cls.",)),
)
_BOX_FFN: Rules = (
    (r"decoder\.heads\.box_head\.layers\.0\.", (r"bbox_head.reg_ffn.layers.0.0.",)),
    (r"decoder\.heads\.box_head\.layers\.1\.", (r"bbox_head.reg_ffn.layers.1.",)),
    (r"decoder\.heads\.box_head\.layers\.2\.", (r"bbox_head.fc_reg.",)),
)
_SPLIT: Rules = tuple(
    (rf"{_DECODER}\.{ours}_attention\.{name}\.", (rf"{_THEIR_DECODER}.{theirs}.{place}.",))
    for ours, theirs in (("self", "self_attn"), ("cross", "cross_attn"))
    for name, place in (
        ("query_content", "qcontent_proj"),
        ("query_position", "qpos_proj"),
        ("query_sine", "qpos_sine_proj"),
        ("key_content", "kcontent_proj"),
        ("key_position", "kpos_proj"),
        ("value", "v_proj"),
        ("out_proj", "out_proj"),
    )
    if (ours, name) != ("self", "query_sine")
)
"""attention whose content and position have projections of their own"""

DETR: Rules = (
    *_DENSE,
    (r"query_source\.position\.", (r"query_embedding.",)),
    (rf"{_DECODER}\.self_attention\.", (rf"{_THEIR_DECODER}.self_attn.attn.",)),
    (rf"{_DECODER}\.cross_attention\.", (rf"{_THEIR_DECODER}.cross_attn.attn.",)),
    *_BOX_FFN,
)
CONDITIONAL_DETR: Rules = (
    *_DENSE,
    (r"query_source\.position\.", (r"query_embedding.",)),
    (r"query_source\.point_head\.", (r"decoder.ref_point_head.",)),
    *_SPLIT,
    (r"decoder\.position\.scale\.", (r"decoder.query_scale.",)),
    *_BOX_FFN,
)
DAB_DETR: Rules = (
    *_DENSE,
    (r"encoder\.scale\.", (r"encoder.query_scale.",)),
    (r"query_source\.anchors\.", (r"query_embedding.",)),
    (r"query_source\.patterns\.", (r"patterns.",)),
    *_SPLIT,
    (r"decoder\.position\.mlp\.", (r"decoder.ref_point_head.",)),
    (r"decoder\.position\.scale\.", (r"decoder.query_scale.",)),
    (r"decoder\.position\.size\.", (r"decoder.ref_anchor_head.",)),
    (r"decoder\.heads\.box_head\.", (r"bbox_head.fc_reg.",)),
)

_DEFORMABLE: Rules = (
    (r"neck\.projections\.([0-2])\.0\.", (r"neck.convs.\1.conv.",)),
    (r"neck\.projections\.([0-2])\.1\.", (r"neck.convs.\1.gn.",)),
    (r"neck\.projections\.3\.0\.", (r"neck.extra_convs.0.conv.",)),
    (r"neck\.projections\.3\.1\.", (r"neck.extra_convs.0.gn.",)),
    (r"encoder\.level_embed", (r"level_embed",)),
    (rf"{_ENCODER}\.attention\.", (rf"{_THEIR_ENCODER}.self_attn.",)),
    (rf"{_DECODER}\.self_attention\.", (rf"{_THEIR_DECODER}.self_attn.attn.",)),
    (rf"{_DECODER}\.cross_attention\.", (rf"{_THEIR_DECODER}.cross_attn.",)),
    *_LAYERS,
)
"""three backbone maps and a coarser level"""
_POINTS: Rules = (
    (r"query_source\.embedding\.", (r"query_embedding.",)),
    (r"query_source\.reference\.", (r"reference_points_fc.",)),
)


def _branches(classes: str, boxes: str, layer: str) -> Rules:
    """Heads of ours and the place of theirs, whose box heads count the activations as well."""
    linears = tuple(
        (rf"{boxes}\.layers\.{number}\.", (rf"bbox_head.reg_branches.{layer}.{2 * number}.",))
        for number in range(3)
    )
    return ((rf"{classes}\.", (rf"bbox_head.cls_branches.{layer}.",)), *linears)


_HEADS = r"decoder\.heads\."
_OF_LAYERS = _branches(_HEADS + r"class_heads\.(\d+)", _HEADS + r"box_heads\.(\d+)", r"\1")
_PROPOSALS: Rules = (
    (r"query_source\.proposals\.output\.", (r"memory_trans_fc.",)),
    (r"query_source\.proposals\.norm\.", (r"memory_trans_norm.",)),
    *_branches(
        r"query_source\.proposals\.class_head", r"query_source\.proposals\.box_head", "{layers}"
    ),
)
"""of the encoder, whose heads come after the layers' in the same lists"""

PLAIN: Rules = (
    *_DEFORMABLE,
    *_POINTS,
    *_branches(_HEADS + "class_head", _HEADS + "box_head", "{layer}"),
)
"""Deformable DETR with one pair of heads, repeated"""
REFINE: Rules = (*_DEFORMABLE, *_POINTS, *_OF_LAYERS)
TWO_STAGE: Rules = (
    *_DEFORMABLE,
    *_PROPOSALS,
    (r"query_source\.projection\.", (r"pos_trans_fc.",)),
    (r"query_source\.norm\.", (r"pos_trans_norm.",)),
    *_OF_LAYERS,
)
DINO: Rules = (
    *_DEFORMABLE,
    *_PROPOSALS,
    (r"query_source\.content\.", (r"query_embedding.",)),
    (r"decoder\.norm\.", (r"decoder.norm.",)),
    (r"decoder\.position\.mlp\.", (r"decoder.ref_point_head.",)),
    *_OF_LAYERS,
    (r"denoiser\.label_table\.", (r"dn_query_generator.label_embedding.",)),
)
"""heads of each layer: `model=dino model.share_heads=false`, the improved recipe `dino_detrex`"""


def backbone_name(official: str) -> str:
    """The name of a backbone's tensor; ResNets as in torchvision."""
    return f"backbone.{official.removeprefix('body.')}"


for _name, _rules in (
    ("detr", DETR),
    ("conditional_detr", CONDITIONAL_DETR),
    ("dab_detr", DAB_DETR),
    ("deformable_detr", PLAIN),
    ("deformable_detr_refine", REFINE),
    ("deformable_detr_two_stage", TWO_STAGE),
    ("dino", DINO),
):
    register_layout(
        f"{_name}_mmdet",
        Layout(
            _rules,
            backbone_name,
            short=r"denoiser\.label_table\.",
            rank=2,
            zero=r"neck\.projections\.\d+\.0\.bias",
        ),
    )
