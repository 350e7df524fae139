"""Names and shapes of mmdetection 3.x's state dicts, written down from its modules.

Sources: mmdet/models/detectors, dense_heads and layers/transformer, ResNet and ChannelMapper of the
configurations, mmcv's FFN, MultiheadAttention and MultiScaleDeformableAttention.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

Shapes = dict[str, tuple[int, ...]]
DIM, WIDE, HEADS, POINTS, CLASSES, QUERIES = 32, 2048, 4, 4, 80, 8
ENCODER, DECODER = 1, 2


def linear(name: str, outputs: int, inputs: int = DIM) -> Shapes:
    """nn.Linear."""
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name: str, width: int = DIM) -> Shapes:
    """nn.LayerNorm, nn.GroupNorm."""
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def mlp(name: str, *widths: int) -> Shapes:
    """MLP of layers/transformer/utils.py."""
    pairs = enumerate(pairwise(widths))
    return {k: v for i, (a, b) in pairs for k, v in linear(f"{name}.layers.{i}", b, a).items()}


def ffn(name: str, wide: int, prelu: bool = False) -> Shapes:
    """mmcv's FFN of two linear layers."""
    found = {**linear(f"{name}.layers.0.0", wide), **linear(f"{name}.layers.1", DIM, wide)}
    return {**found, f"{name}.layers.0.1.weight": (1,)} if prelu else found


def attention(name: str) -> Shapes:
    """mmcv's MultiheadAttention around torch's."""
    packed = {
        f"{name}.attn.in_proj_weight": (3 * DIM, DIM),
        f"{name}.attn.in_proj_bias": (3 * DIM,),
    }
    return {**packed, **linear(f"{name}.attn.out_proj", DIM)}


def deformable(name: str, levels: int = 4) -> Shapes:
    """mmcv's MultiScaleDeformableAttention."""
    samples = HEADS * levels * POINTS
    widths = (2 * samples, samples, DIM, DIM)
    parts = ("sampling_offsets", "attention_weights", "value_proj", "output_proj")
    named = [linear(f"{name}.{part}", width) for part, width in zip(parts, widths, strict=True)]
    return {key: shape for each in named for key, shape in each.items()}


def conditional(name: str, *parts: str) -> Shapes:
    """ConditionalAttention."""
    parts = ("qcontent_proj", "kcontent_proj", "kpos_proj", "v_proj", "out_proj", *parts)
    return {k: v for part in parts for k, v in linear(f"{name}.{part}", DIM).items()}


def layers(
    name: str, count: int, wide: int, prelu: bool, *parts: Callable[[str, int], Shapes]
) -> Shapes:
    """Layers with a norm behind each attention and behind the perceptron."""
    found: Shapes = {}
    for i in range(count):
        for part in parts:
            found |= part(f"{name}.{i}", i)
        found |= ffn(f"{name}.{i}.ffn", wide, prelu)
        for j in range(len(parts) + 1):
            found |= norm(f"{name}.{i}.norms.{j}")
    return found


def dense(prelu: bool) -> Shapes:
    """What DETR, Conditional DETR and DAB-DETR share."""
    neck = {"neck.convs.0.conv.weight": (DIM, 512, 1, 1), "neck.convs.0.conv.bias": (DIM,)}
    encoder = layers(
        "encoder.layers", ENCODER, WIDE, prelu, lambda name, _: attention(f"{name}.self_attn")
    )
    return {**neck, **encoder, **norm("decoder.post_norm"), **linear("bbox_head.fc_cls", CLASSES)}


def split_layers(prelu: bool) -> Shapes:
    """Decoder layers of Conditional DETR and DAB-DETR; only the first has cross_attn.qpos_proj."""
    first = ("qpos_proj",)
    return layers(
        *("decoder.layers", DECODER, WIDE, prelu),
        lambda name, _: conditional(f"{name}.self_attn", "qpos_proj"),
        lambda name, i: conditional(
            f"{name}.cross_attn", "qpos_sine_proj", *(first if i == 0 else ())
        ),
    )


def box_ffn() -> Shapes:
    """DETRHead's FFN and last layer."""
    return {
        **linear("bbox_head.reg_ffn.layers.0.0", DIM),
        **linear("bbox_head.reg_ffn.layers.1", DIM),
        **linear("bbox_head.fc_reg", 4),
    }


def detr() -> Shapes:
    """DETR, whose head has a last row for no object."""
    decoder = layers(
        *("decoder.layers", DECODER, WIDE, False),
        lambda name, _: attention(f"{name}.self_attn"),
        lambda name, _: attention(f"{name}.cross_attn"),
    )
    head = linear("bbox_head.fc_cls", CLASSES + 1)
    return {
        **dense(False),
        **decoder,
        **box_ffn(),
        **head,
        "query_embedding.weight": (QUERIES, DIM),
    }


def conditional_detr() -> Shapes:
    """Conditional DETR."""
    return {
        **{**dense(False), **split_layers(False), **box_ffn()},
        **mlp("decoder.query_scale", DIM, DIM, DIM),
        **mlp("decoder.ref_point_head", DIM, DIM, 2),
        "query_embedding.weight": (QUERIES, DIM),
    }


def dab_detr() -> Shapes:
    """DAB-DETR with patterns."""
    return {
        **{**dense(True), **split_layers(True), **mlp("bbox_head.fc_reg", DIM, DIM, DIM, 4)},
        **mlp("encoder.query_scale", DIM, DIM, DIM),
        **mlp("decoder.query_scale", DIM, DIM, DIM),
        **mlp("decoder.ref_point_head", 2 * DIM, DIM, DIM),
        **mlp("decoder.ref_anchor_head", DIM, DIM, 2),
        **{"query_embedding.weight": (QUERIES, 4), "patterns.weight": (2, DIM)},
    }


def multi_scale(wide: int, heads: int) -> Shapes:
    """Neck without biases, layers, and branches in a Sequential of Linear, ReLU, Linear, ..."""
    found: Shapes = {"level_embed": (4, DIM)}
    for i, channels in enumerate((128, 256, 512)):
        found[f"neck.convs.{i}.conv.weight"] = (DIM, channels, 1, 1)
        found |= norm(f"neck.convs.{i}.gn")
    found["neck.extra_convs.0.conv.weight"] = (DIM, 512, 3, 3)
    found |= norm("neck.extra_convs.0.gn")
    for i in range(heads):
        found |= linear(f"bbox_head.cls_branches.{i}", CLASSES)
        for place, width in ((0, DIM), (2, DIM), (4, 4)):
            found |= linear(f"bbox_head.reg_branches.{i}.{place}", width)
    found |= layers(
        *("encoder.layers", ENCODER, wide, False), lambda name, _: deformable(f"{name}.self_attn")
    )
    return found | layers(
        *("decoder.layers", DECODER, wide, False),
        lambda name, _: attention(f"{name}.self_attn"),
        lambda name, _: deformable(f"{name}.cross_attn"),
    )


def proposals() -> Shapes:
    """Of the encoder."""
    return {**linear("memory_trans_fc", DIM), **norm("memory_trans_norm")}


def deformable_detr() -> Shapes:
    """Plain, whose branches are one pair, and with refinement."""
    queries = {"query_embedding.weight": (QUERIES, 2 * DIM)}
    return {**multi_scale(1024, DECODER), **queries, **linear("reference_points_fc", 2)}


def deformable_detr_two_stage() -> Shapes:
    """Without learnt queries."""
    return {
        **{**multi_scale(1024, DECODER + 1), **proposals()},
        **{**linear("pos_trans_fc", 2 * DIM, 2 * DIM), **norm("pos_trans_norm", 2 * DIM)},
    }


def dino() -> Shapes:
    """DINO of four scales."""
    return {
        **{**multi_scale(WIDE, DECODER + 1), **proposals(), **norm("decoder.norm")},
        **mlp("decoder.ref_point_head", 2 * DIM, DIM, DIM),
        "query_embedding.weight": (QUERIES, DIM),
        "dn_query_generator.label_embedding.weight": (CLASSES, DIM),
    }


def resnet18() -> Shapes:
    """mmdet's ResNet of basic blocks, with batch norms that count their batches."""

    def batch_norm(name: str, width: int) -> Shapes:
        parts = ("weight", "bias", "running_mean", "running_var")
        return {**{f"{name}.{part}": (width,) for part in parts}, f"{name}.num_batches_tracked": ()}

    found: Shapes = {"backbone.conv1.weight": (64, 3, 7, 7), **batch_norm("backbone.bn1", 64)}
    inputs = 64
    for stage, width in enumerate((64, 128, 256, 512), 1):
        for block in range(2):
            name = f"backbone.layer{stage}.{block}"
            if width != inputs:
                found[f"{name}.downsample.0.weight"] = (width, inputs, 1, 1)
                found |= batch_norm(f"{name}.downsample.1", width)
            for i, channels in enumerate((inputs, width), 1):
                found[f"{name}.conv{i}.weight"] = (width, channels, 3, 3)
                found |= batch_norm(f"{name}.bn{i}", width)
            inputs = width
    return found


MODELS: dict[str, tuple[Callable[[], Shapes], tuple[str, ...]]] = {
    "detr_mmdet": (detr, ("model=detr",)),
    "conditional_detr_mmdet": (conditional_detr, ("model=conditional_detr",)),
    "dab_detr_mmdet": (dab_detr, ("model=dab_detr", "model.num_patterns=2")),
    "deformable_detr_mmdet": (deformable_detr, ("model=deformable_detr",)),
    "deformable_detr_refine_mmdet": (deformable_detr, ("model=deformable_detr_refine",)),
    "deformable_detr_two_stage_mmdet": (
        deformable_detr_two_stage,
        ("model=deformable_detr_two_stage",),
    ),
    "dino_mmdet": (dino, ("model=dino", "model.share_heads=false")),
    "dino_mmdet, improved": (dino, ("model=dino_detrex",)),
}
"""by layout: its names beside the backbone's, and what builds the detector"""
