"""Our Swin and ConvNeXt beside those of transformers, at sizes that no window or stride divides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

pytest.importorskip("transformers", reason="transformers is not installed; it needs Python 3.11")

from peer_names import Rules, taken
from transformers import ConvNextBackbone, ConvNextConfig, SwinBackbone, SwinConfig

import detbox
from detbox.registry import BACKBONES

BLOCK, THEIR_BLOCK = r"layers\.(\d+)\.blocks\.(\d+)\.", r"swin.encoder.layers.\1.blocks.\2."
SWIN: Rules = (
    (r"patch_embed\.proj\.", ("swin.embeddings.patch_embeddings.projection.",)),
    (r"patch_embed\.norm\.", ("swin.embeddings.norm.",)),
    (
        rf"{BLOCK}attn\.qkv\.",
        tuple(rf"{THEIR_BLOCK}attention.{each}_proj." for each in "qkv"),
    ),
    (rf"{BLOCK}attn\.proj\.", (rf"{THEIR_BLOCK}attention.o_proj.",)),
    (rf"{BLOCK}attn\.", (rf"{THEIR_BLOCK}attention.relative_position_bias.",)),
    (rf"{BLOCK}norm1\.", (rf"{THEIR_BLOCK}layernorm_before.",)),
    (rf"{BLOCK}norm2\.", (rf"{THEIR_BLOCK}layernorm_after.",)),
    (BLOCK, (THEIR_BLOCK,)),
    (r"layers\.(\d)\.downsample\.", (r"swin.encoder.layers.\1.downsample.",)),
    *((rf"norm{level}\.", (f"hidden_states_norms.stage{level + 1}.",)) for level in range(4)),
)
CELL, THEIR_CELL = r"stages\.(\d)\.(\d)\.", r"encoder.stages.\1.layers.\2."
CONVNEXT: Rules = (
    (r"downsample_layers\.0\.0\.", ("embeddings.patch_embeddings.",)),
    (r"downsample_layers\.0\.1\.", ("embeddings.layernorm.",)),
    (r"downsample_layers\.(\d)\.", (r"encoder.stages.\1.downsampling_layer.",)),
    (rf"{CELL}gamma", (rf"{THEIR_CELL}layer_scale_parameter",)),
    (rf"{CELL}norm\.", (rf"{THEIR_CELL}layernorm.",)),
    (CELL, (THEIR_CELL,)),
    *((rf"norm{level}\.", (f"hidden_states_norms.stage{level + 1}.",)) for level in range(4)),
)


class Pair(NamedTuple):
    """A backbone here and there."""

    name: str
    theirs: nn.Module
    rules: Rules
    strides: list[int]


def swin() -> Pair:
    """Swin-T up to stride 16; below a window's size transformers shrinks the window."""
    stages: dict[str, Any] = {"out_features": ["stage1", "stage2", "stage3"]}
    config = SwinConfig(drop_path_rate=0.0, **stages)
    return Pair("swin_t", SwinBackbone(config), SWIN, [4, 8, 16])


def convnext() -> Pair:
    """ConvNeXt-T."""
    stages: dict[str, Any] = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
    config = ConvNextConfig(hidden_sizes=[96, 192, 384, 768], depths=[3, 3, 9, 3], **stages)
    return Pair("convnext_t", ConvNextBackbone(config), CONVNEXT, [4, 8, 16, 32])


@torch.no_grad()
@pytest.mark.parametrize("pair", [swin, convnext])
def test_maps_at_odd_sizes_are_those_of_the_peer(pair: Callable[[], Pair]) -> None:
    torch.manual_seed(0)
    name, theirs, rules, strides = pair()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, 1.0 if parameter.ndim == 1 else 0.0, 0.05)
    config = detbox.compose(f"backbone={name}", f"backbone.strides={strides}")
    ours = BACKBONES.build(config.backbone).eval()
    own = {name: official for name, (official,) in ours.official_names().items()}
    values = taken(theirs.state_dict(), list(own.values()), rules, last=0)
    ours.load_state_dict({name: values[official] for name, official in own.items()})
    pixels = torch.randn(2, 3, 135, 203)
    expected = theirs.eval()(pixels).feature_maps
    for found, each in zip(ours(pixels), expected, strict=True):
        torch.testing.assert_close(found, each, rtol=1e-4, atol=1e-4 * float(each.abs().max()))
