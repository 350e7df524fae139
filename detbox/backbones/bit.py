"""BiT ResNet (Kolesnikov et al., ECCV 2020): pre-activation, standardised weights, group norm."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detbox.backbones.checkpointing import RecomputedStage
from detbox.backbones.own import CommonSettings, OwnBackbone, freeze_stages, rates
from detbox.backbones.settings import check_drop_path
from detbox.padding import enlarged
from detbox.ranges import Count, ShareBelowOne, Stages
from detbox.registry import BACKBONES

STEM_WIDTH = 64
WIDTHS = (256, 512, 1024, 2048)
DEPTHS = (3, 4, 6, 3)

FLAX = (
    (r"^stem\.weight$", "root_block/conv_root/kernel"),
    (r"^stages\.(\d)\.(unit\d+)\.", r"block\1/\2/"),
    (r"(conv\w+)\.weight$", r"\1/kernel"),
    (r"norm(\d)\.", r"gn\1/"),
    (r"^norm\.", "norm-pre-head/"),
    (r"/weight$", "/scale"),
)
GOOGLE = (
    (r"^stages\.(\d)\.(unit\d+)\.", r"block\1/\2/"),
    (r"conv_proj\.", "a/proj/conv."),
    (r"(conv|norm)1\.", r"a/\1."),
    (r"(conv|norm)2\.", r"b/\1."),
    (r"(conv|norm)3\.", r"c/\1."),
    (r"^stem\.", "root_block/conv."),
    (r"conv\.weight$", "standardized_conv2d/kernel"),
    (r"norm\.weight$", "group_norm/gamma"),
    (r"norm\.bias$", "group_norm/beta"),
    (r"^", "resnet/"),
)
TIMM = (
    (r"^stem\.", "stem.conv."),
    *((rf"^stages\.{number}\.", f"stages.{number - 1}.blocks.") for number in (1, 2, 3, 4)),
    *((rf"\.unit0{number}\.", f".{number - 1}.") for number in range(1, 1 + max(DEPTHS))),
    (r"\.conv_proj\.", ".downsample.conv."),
)
"""names here -> in weights files"""


class StandardisedConv(nn.Conv2d):
    """A convolution with weights of mean 0 and variance 1 by output (Qiao et al., 2019)."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) as `nn.Conv2d`."""
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), correction=0, keepdim=True)
        weight = (self.weight - mean) / (variance + 1e-10).sqrt()
        return F.conv2d(input, weight, None, self.stride, self.padding)


class PreActivationBottleneck(nn.Module):
    """Three convolutions, each behind norm and ReLU; a new width or size is projected."""

    def __init__(self, inputs: int, outputs: int, stride: int, drop_path: float) -> None:
        from timm.layers import DropPath

        super().__init__()
        inner = outputs // 4
        self.drop_path = DropPath(drop_path)
        self.norm1 = _norm(inputs)
        self.conv1 = _conv(inputs, inner, 1)
        self.norm2 = _norm(inner)
        self.conv2 = _conv(inner, inner, 3, stride)
        self.norm3 = _norm(inner)
        self.conv3 = _conv(inner, outputs, 1)
        self.conv_proj = _conv(inputs, outputs, 1, stride) if inputs != outputs else None

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to (B, outputs, h / stride, w / stride), rounded up."""
        active = F.relu(self.norm1(features))
        shortcut = features if self.conv_proj is None else self.conv_proj(active)
        update = self.conv1(active)
        update = self.conv2(F.relu(self.norm2(update)))
        update = self.conv3(F.relu(self.norm3(update)))
        output: Tensor = shortcut + self.drop_path(update)
        return output


class BiT(OwnBackbone):
    """BiT ResNet-50; maps have H / stride x W / stride cells, rounded up.

    Maps of the stages are not normalised, but the coarsest stage's is, and has passed a ReLU.

    Args:
        chosen: see `OwnBackbone`.
        drop_path: stochastic depth rate of the last block, rising linearly from 0.
        checkpointing: recompute the blocks' activations in the backward pass.
    """

    model = "bit"
    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)
    substitutions = FLAX
    further = MappingProxyType({"Google's release": GOOGLE, "timm model": TIMM})

    def __init__(self, chosen: CommonSettings, *, drop_path: float, checkpointing: bool) -> None:
        super().__init__(WIDTHS, chosen)
        self.stem = _conv(3, STEM_WIDTH, 7, 2)
        # timm's resnetv2 pads the map with zeros before this pool; the JAX code does not.
        self.pool = nn.MaxPool2d(3, 2, 1)
        left = iter(rates(drop_path, sum(DEPTHS)))
        row = RecomputedStage if checkpointing else nn.Sequential
        self.stages = nn.ModuleDict()
        for level in range(self.levels[-1] + 1):
            self.stages[str(level + 1)] = row(OrderedDict(_units(level, left)))
        self.norm = _norm(WIDTHS[-1]) if len(self.stages) == len(WIDTHS) else None

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) normalised pixels of any size to one (B, C, h, w) map per stride."""
        features = self.pool(self.stem(enlarged(pixels, 1, self.strides[-1])))
        maps = []
        for stage in self.stages.values():
            features = stage(features)
            maps.append(features)
        if self.norm is not None:
            maps[-1] = F.relu(self.norm(features))
        return tuple(maps[level] for level in self.levels)


@BACKBONES.register("bit_r50")
def bit_r50(
    *,
    strides: tuple[Count, ...] = (8, 16, 32),
    weights: str | None = None,
    pretrained: str = "auto",
    frozen_stages: Stages = 0,
    drop_path: ShareBelowOne = 0.0,
    checkpointing: bool = False,
) -> BiT:
    """Build a BiT ResNet-50 on random weights.

    Args:
        strides: levels to return, fine to coarse, some of 4, 8, 16, 32.
        weights: local weights file: Google's `.npz`, one of Flax, timm's, or a saved backbone.
        pretrained: auto or true need the file, false is content with random weights.
        frozen_stages: 1 freezes all up to stride 4, 2 up to stride 8 and so on; 0 nothing, -1 all.
        drop_path: of the last block.
        checkpointing: less memory, more time.

    Raises:
        ValueError: a stride or frozen stage that there is not, or a bad `pretrained`.
    """
    check_drop_path(drop_path)
    chosen = CommonSettings(strides, weights, pretrained)
    backbone = BiT(chosen, drop_path=drop_path, checkpointing=checkpointing)
    freeze_stages(backbone, frozen_stages)
    return backbone


def _units(level: int, drop_paths: Iterator[float]) -> Iterator[tuple[str, nn.Module]]:
    """Blocks of a stage with their official names, the first one widens and strides."""
    inputs, stride = (WIDTHS[level - 1], 2) if level else (STEM_WIDTH, 1)
    for unit in range(1, DEPTHS[level] + 1):
        block = PreActivationBottleneck(inputs, WIDTHS[level], stride, next(drop_paths))
        yield f"unit{unit:02}", block
        inputs, stride = WIDTHS[level], 1


def _norm(dim: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, dim, eps=1e-6)


def _conv(inputs: int, outputs: int, side: int, stride: int = 1) -> StandardisedConv:
    return StandardisedConv(inputs, outputs, side, stride, side // 2, bias=False)
