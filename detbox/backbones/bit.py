"""BiT ResNet (Kolesnikov et al., ECCV 2020): pre-activation, standardised weights, group norm."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detbox.backbones.own import Levels, OwnBackbone
from detbox.backbones.timm import enlarged
from detbox.registry import BACKBONES

WIDTHS = (256, 512, 1024, 2048)
DEPTHS = (3, 4, 6, 3)


class StandardisedConv(nn.Conv2d):
    """A convolution with weights of mean 0 and variance 1 by output (Qiao et al., 2019)."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) as `nn.Conv2d`."""
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), correction=0, keepdim=True)
        weight = (self.weight - mean) / (variance + 1e-10).sqrt()
        return F.conv2d(input, weight, None, self.stride, self.padding)


class PreActivationBottleneck(nn.Module):
    """Three convolutions, each behind norm and ReLU; a new width or size is projected."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        inner = outputs // 4
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
        return shortcut + self.conv3(F.relu(self.norm3(update)))


class BiT(OwnBackbone):
    """BiT ResNet-50; maps have H / stride x W / stride cells, rounded up.

    Maps of the stages are not normalised, but the coarsest stage's is, and has passed a ReLU.
    """

    model = "bit"
    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)
    rules = (
        (r"^stem\.weight$", "root_block/conv_root/kernel"),
        (r"^stages\.(\d)\.(unit\d+)\.", r"block\1/\2/"),
        (r"(conv\w+)\.weight$", r"\1/kernel"),
        (r"norm(\d)\.", r"gn\1/"),
        (r"^norm\.", "norm-pre-head/"),
        (r"/weight$", "/scale"),
    )

    def __init__(self, chosen: Levels) -> None:
        super().__init__(WIDTHS, chosen)
        self.stem = _conv(3, 64, 7, 2)
        # timm's resnetv2 pads the map with zeros before this pool; the JAX code does not.
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.stages = nn.ModuleDict()
        for level in range(self.levels[-1] + 1):
            inputs = WIDTHS[level - 1] if level else 64
            self.stages[str(level + 1)] = _stage(inputs, WIDTHS[level], DEPTHS[level], level)
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
    strides: tuple[int, ...] = (8, 16, 32),
    weights: str | None = None,
    pretrained: str = "auto",
) -> BiT:
    """Build a BiT ResNet-50 on random weights.

    Args:
        strides: levels to return, fine to coarse, some of 4, 8, 16, 32.
        weights: local weights file, also `.npz` with the names and kernels of JAX.
        pretrained: auto or true need the file, false is content with random weights.

    Raises:
        ValueError: a stride that no stage has, or a bad `pretrained`.
    """
    return BiT(Levels(strides, weights, pretrained))


def _stage(inputs: int, outputs: int, depth: int, level: int) -> nn.Sequential:
    blocks = OrderedDict[str, nn.Module]()
    for unit in range(depth):
        stride = 2 if level and not unit else 1
        blocks[f"unit{unit + 1:02}"] = PreActivationBottleneck(
            outputs if unit else inputs, outputs, stride
        )
    return nn.Sequential(blocks)


def _norm(dim: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, dim, eps=1e-6)


def _conv(inputs: int, outputs: int, side: int, stride: int = 1) -> StandardisedConv:
    return StandardisedConv(inputs, outputs, side, stride, side // 2, bias=False)
