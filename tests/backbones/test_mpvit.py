"""MPViT: a forward pass written out after the paper, stochastic depth, and frozen norms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from named import build
from timm.layers import DropPath
from torch import Tensor
from torch.nn import functional as F

from detbox.backbones.freezing import way_to_thaw

TINY = (
    *("backbone.widths=[16,24,32,40]", "backbone.depths=[1,2,1,1]", "backbone.paths=[2,3,1,2]"),
    *("backbone.mlp_ratio=2", "backbone.strides=[4,8,16,32]"),
)


def conv_norm(part: Any, features: Tensor, stride: int = 1) -> Tensor:
    """A convolution and the batch norm behind it."""
    weight, norm = part.conv.weight, part.norm
    groups, padding = features.shape[1] // weight.shape[1], weight.shape[-1] // 2
    features = F.conv2d(features, weight, None, stride, padding, groups=groups)
    return F.batch_norm(features, norm.running_mean, norm.running_var, norm.weight, norm.bias)


def local_features(part: Any, patches: Tensor) -> Tensor:
    """The convolutional path (sec. 3.3): an inverted bottleneck with a residual."""
    found = F.hardswish(conv_norm(part.first, patches))
    found = F.hardswish(conv_norm(part.depthwise, found))
    return patches + conv_norm(part.last, found)


def stage(part: Any, features: Tensor, stride: int) -> Tensor:
    """Sec. 3.2 and 3.3: patches of patches, a path for each, and all of them aggregated."""
    patches = []
    for path, embed in enumerate(part.patches):
        dim = features.shape[1]
        step = 1 if path else stride
        features = F.conv2d(features, embed.depthwise.weight, None, step, 1, groups=dim)
        features = F.hardswish(conv_norm(embed.pointwise, features))
        patches.append(features)
    found = [local_features(part.local, patches[0])]
    for stack, each in zip(part.paths, patches, strict=True):
        tokens = stack(each.flatten(2).mT, each.shape[2:])
        found.append(tokens.mT.reshape(each.shape))
    return F.hardswish(conv_norm(part.aggregate, torch.cat(found, 1)))


@torch.no_grad()
def test_maps_are_those_of_the_pass_written_out() -> None:
    torch.manual_seed(0)
    backbone = build("mpvit", *TINY).eval().double()
    for buffer in backbone.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.2, 0.8)  # means and variances of batch norms
    for parameter in backbone.parameters():
        parameter.normal_(0, 0.3)
    pixels = torch.randn(2, 3, 45, 70, dtype=torch.float64)
    features = pixels
    for part in backbone.stem:
        features = F.hardswish(conv_norm(part, features, 2))
    for level, (found, part) in enumerate(zip(backbone(pixels), backbone.stages, strict=True)):
        features = stage(part, features, 2 if level else 1)
        torch.testing.assert_close(found, features)


@pytest.mark.parametrize("strides", ["[8]", "[8,16,32]"])
def test_drop_path_rises_linearly_over_all_blocks_and_is_the_same_in_all_paths(
    strides: str,
) -> None:
    backbone = build("mpvit", *TINY, "backbone.drop_path=0.4", f"backbone.strides={strides}")
    found = [module.drop_prob for module in backbone.modules() if isinstance(module, DropPath)]
    expected = [*[0.0] * 2, *[0.1, 0.2] * 3, 0.3, *[0.4] * 2]  # paths side by side
    assert found == pytest.approx(expected[:8] if strides == "[8]" else expected)


def test_frozen_norms_do_not_learn_from_the_batch() -> None:
    backbone = build("mpvit_tiny", "backbone.frozen_norm=true", "backbone.strides=[4]").train()
    assert way_to_thaw(backbone) == "backbone.frozen_norm=false"
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    backbone(torch.randn(2, 3, 32, 32))
    assert all(torch.equal(value, before[name]) for name, value in backbone.named_buffers())
