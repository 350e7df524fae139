"""Our hybrid encoder beside that of transformers: same weights, same maps."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

pytest.importorskip("transformers", reason="transformers is not installed; it needs Python 3.11")

from transformers import RTDetrConfig
from transformers.models.rt_detr.modeling_rt_detr import RTDetrHybridEncoder

from detbox.necks.hybrid_encoder import HybridEncoder
from detbox.registry import NECKS

CHANNELS, STRIDES = (16, 24, 40), (8, 16, 32)
RULES = (
    (r"^aifi\.feed_forward\.linear", r"aifi.0.layers.0.mlp.fc"),
    (r"^aifi\.feed_forward\.norm", r"aifi.0.layers.0.final_layer_norm"),
    (r"^aifi\.norm", r"aifi.0.layers.0.self_attn_layer_norm"),
    (r"^aifi\.attention\.out_proj", r"aifi.0.layers.0.self_attn.o_proj"),
    (r"\.deep\.0\.0", r".conv1.conv"),
    (r"\.deep\.0\.1", r".conv1.norm"),
    (r"\.shallow\.0", r".conv2.conv"),
    (r"\.shallow\.1", r".conv2.norm"),
    (r"\.wide\.0", r".conv1.conv"),
    (r"\.wide\.1", r".conv1.norm"),
    (r"\.narrow\.0", r".conv2.conv"),
    (r"\.narrow\.1", r".conv2.norm"),
    (r"^(lateral|halved)\.(\d)\.0", r"\1.\2.conv"),
    (r"^(lateral|halved)\.(\d)\.1", r"\1.\2.norm"),
    (r"^halved", "downsample_convs"),
    (r"^bottom_up", "pan_blocks"),
)
"""our names -> theirs, one after the other"""


def theirs_of(name: str) -> list[str]:
    """Their tensors that ours stands for, joined along the first dimension."""
    if name.startswith("aifi.attention.in_proj_"):
        kind = name.removeprefix("aifi.attention.in_proj_")
        return [f"aifi.0.layers.0.self_attn.{part}_proj.{kind}" for part in "qkv"]
    # They count the top-down path from the coarsest map, and so its modules.
    name = re.sub(r"^lateral\.(\d)", lambda m: f"lateral_convs.{1 - int(m[1])}", _renamed(name))
    name = re.sub(r"^top_down\.(\d)", lambda m: f"fpn_blocks.{1 - int(m[1])}", name)
    return [re.sub(r"\.deep\.(\d)", lambda m: f".bottlenecks.{int(m[1]) - 1}", name)]


def _renamed(name: str) -> str:
    for pattern, replacement in RULES:
        name = re.sub(pattern, replacement, name)
    return name


@pytest.fixture
def pair() -> tuple[HybridEncoder, nn.Module]:
    """Both encoders with the same random weights and statistics, in evaluation mode."""
    torch.manual_seed(0)
    settings = {"hidden_dim": 32, "num_heads": 4, "feedforward_dim": 64}
    ours = NECKS.build({"name": "hybrid_encoder", **settings}, CHANNELS, STRIDES).eval()
    theirs = RTDetrHybridEncoder(
        RTDetrConfig(
            encoder_hidden_dim=32,
            encoder_in_channels=list(CHANNELS),
            encoder_attention_heads=4,
            encoder_ffn_dim=64,
            eval_size=None,
        )
    ).eval()
    stored = theirs.state_dict()
    for name, tensor in stored.items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1) if name.endswith("_var") else tensor.normal_(0, 0.2)
    read: set[str] = set()
    own = ours.state_dict()
    for name in own:
        if not name.startswith("projections."):
            names = theirs_of(name)
            read.update(names)
            own[name].copy_(torch.cat([stored[each] for each in names]) if own[name].ndim else 0)
    assert read == set(stored)
    return ours, theirs


@torch.no_grad()
def test_levels_are_those_of_the_peer(pair: tuple[HybridEncoder, nn.Module]) -> None:
    ours, theirs = pair
    inputs = [torch.randn(2, c, 64 // s, 96 // s) for c, s in zip(CHANNELS, STRIDES, strict=True)]
    projected = [project(x) for project, x in zip(ours.projections, inputs, strict=True)]
    expected = theirs(inputs_embeds=projected).last_hidden_state
    for level, other in zip(ours(inputs), expected, strict=True):
        torch.testing.assert_close(level, other, rtol=1e-4, atol=1e-5)
