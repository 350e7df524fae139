"""MPViT (Lee et al., CVPR 2022): patches of several sizes in parallel paths, at any image size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import torch
from torch import Tensor, nn

from detbox.backbones.factorised import OFFICIAL, FactorisedStack, check_stages, initialise
from detbox.backbones.own import (
    CommonSettings,
    OwnBackbone,
    freeze_stages,
    rates,
)
from detbox.backbones.settings import check_drop_path
from detbox.padding import enlarged
from detbox.ranges import Count, ShareBelowOne, Stages
from detbox.registry import BACKBONES


class ConvNormHardswish(nn.Sequential):
    """A convolution that keeps or halves the map, batch norm, and Hardswish unless told not to."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        side: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: bool = True,
    ) -> None:
        super().__init__()
        padding = side // 2
        self.conv = nn.Conv2d(inputs, outputs, side, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.activation = nn.Hardswish() if activation else nn.Identity()


class PatchEmbedding(nn.Sequential):
    """Overlapping patches by a separable convolution; in a row they widen the patch (sec. 3.2)."""

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(dim, dim, 3, stride, 1, groups=dim, bias=False)
        self.pointwise = ConvNormHardswish(dim, dim)


class LocalFeatures(nn.Module):
    """The convolutional path beside the attention: a residual bottleneck (sec. 3.3)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first = ConvNormHardswish(dim, dim)
        self.depthwise = ConvNormHardswish(dim, dim, 3, groups=dim)
        self.last = ConvNormHardswish(dim, dim, activation=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to the same."""
        update: Tensor = self.last(self.depthwise(self.first(features)))
        return features + update


class MultiPathStage(nn.Module):
    """Patches of rising size, a stack of attention for each, and a projection of all (sec. 3)."""

    def __init__(
        self, dim: int, outputs: int, stride: int, stacks: Sequence[FactorisedStack]
    ) -> None:
        super().__init__()
        self.patches = nn.ModuleList(
            PatchEmbedding(dim, 1 if path else stride) for path in range(len(stacks))
        )
        self.paths = nn.ModuleList(stacks)
        self.local = LocalFeatures(dim)
        self.aggregate = ConvNormHardswish((len(stacks) + 1) * dim, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to (B, outputs, h / stride, w / stride), rounded up."""
        patches = []
        for embed in self.patches:
            features = embed(features)
            patches.append(features)
        paths = [_attend(stack, each) for stack, each in zip(self.paths, patches, strict=True)]
        output: Tensor = self.aggregate(torch.cat([self.local(patches[0]), *paths], 1))
        return output


class MPViT(OwnBackbone):
    """Multi-path vision transformer; maps have H / stride x W / stride cells, rounded up.

    Args:
        widths: channels inside each of the four stages; its map has the next stage's.
        depths: blocks of each path, by stage.
        paths: patch sizes, by stage.
        mlp_ratio: inner width of the MLPs as a multiple of the stage's.
        levels: see `OwnBackbone`.
        drop_path: stochastic depth rate of the last block, rising linearly from 0.
        checkpointing: recompute the blocks' activations in the backward pass.
    """

    model = "mpvit"
    substitutions = (
        (r"^stem\.(\d)\.norm\.", r"stem.\1.bn."),
        (
            r"^stages\.(\d)\.patches\.(\d)\.",
            r"patch_embed_stages.\1.patch_embeds.\2.patch_conv.",
        ),
        (r"\.depthwise\.(weight)", r".dwconv.\1"),
        (r"\.pointwise\.conv\.", ".pwconv."),
        (r"\.pointwise\.norm\.", ".bn."),
        (
            r"^stages\.(\d)\.paths\.(\d)\.blocks\.",
            r"mhca_stages.\1.mhca_blks.\2.MHCA_layers.",
        ),
        (r"^stages\.(\d)\.paths\.", r"mhca_stages.\1.mhca_blks."),
        *OFFICIAL,
        (r"^stages\.(\d)\.local\.depthwise\.conv\.", r"mhca_stages.\1.InvRes.dwconv."),
        (r"^stages\.(\d)\.local\.depthwise\.", r"mhca_stages.\1.InvRes."),
        (r"^stages\.(\d)\.local\.first\.", r"mhca_stages.\1.InvRes.conv1."),
        (r"^stages\.(\d)\.local\.last\.", r"mhca_stages.\1.InvRes.conv2."),
        (r"^stages\.(\d)\.aggregate\.", r"mhca_stages.\1.aggregate."),
        (r"(\.conv\d|\.aggregate)\.norm\.", r"\1.bn."),
    )
    copies = (
        (
            r"(mhca_stages\.(\d)\.mhca_blks\.(\d))\.(cpe|crpe)\.",
            r"\1.MHCA_layers.{stages.\2.paths.\3.blocks}.\4.",
        ),
        (
            r"(mhca_stages\.(\d)\.mhca_blks\.(\d))\.crpe\.",
            r"\1.MHCA_layers.{stages.\2.paths.\3.blocks}.factoratt_crpe.crpe.",
        ),
    )

    def __init__(
        self,
        widths: Sequence[int],
        depths: Sequence[int],
        paths: Sequence[int],
        mlp_ratio: int,
        levels: CommonSettings,
        *,
        drop_path: float,
        checkpointing: bool,
    ) -> None:
        outputs = (*widths[1:], widths[-1])
        super().__init__(outputs, levels)
        self.stem = nn.Sequential(
            ConvNormHardswish(3, widths[0] // 2, 3, stride=2),
            ConvNormHardswish(widths[0] // 2, widths[0], 3, stride=2),
        )
        left = iter(rates(drop_path, sum(depths)))
        self.stages = nn.ModuleList()
        for level in range(self.levels[-1] + 1):
            drop_paths = list(islice(left, depths[level]))
            stacks = [
                FactorisedStack(widths[level], mlp_ratio, drop_paths, checkpointing)
                for _ in range(paths[level])
            ]
            stride = 2 if level else 1
            self.stages.append(MultiPathStage(widths[level], outputs[level], stride, stacks))
        initialise(self)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) normalised pixels of any size to one (B, C, h, w) map per stride."""
        features = self.stem(enlarged(pixels, 1, self.strides[-1]))
        maps = []
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        return tuple(maps[level] for level in self.levels)


@BACKBONES.register("mpvit")
def mpvit(
    *,
    widths: tuple[Count, ...] = (64, 128, 216, 288),
    depths: tuple[Count, ...] = (1, 3, 6, 3),
    paths: tuple[Count, ...] = (2, 3, 3, 3),
    mlp_ratio: Count = 4,
    strides: tuple[Count, ...] = (8, 16, 32),
    weights: str | None = None,
    pretrained: str = "auto",
    frozen_stages: Stages = 0,
    frozen_norm: bool = False,
    drop_path: ShareBelowOne = 0.0,
    checkpointing: bool = False,
) -> MPViT:
    """Build an MPViT on random weights, MPViT-S unless told otherwise; see `MPViT`.

    Args:
        widths: of the four stages.
        depths: of the four stages.
        paths: of the four stages.
        mlp_ratio: of all stages.
        strides: levels to return, fine to coarse, some of 4, 8, 16, 32.
        weights: local weights file, `.pth` or `.safetensors`; no hub has these models.
        pretrained: auto or true need the file, false is content with random weights.
        frozen_stages: 1 freezes all up to stride 4, 2 up to stride 8 and so on; 0 nothing, -1 all.
        frozen_norm: keep batch norm at its stored statistics and scales.
        drop_path: of the last block.
        checkpointing: less memory, more time.

    Raises:
        ValueError: a stride or frozen stage that there is not, a bad `pretrained`, or other than
            four stages.
    """
    check_stages(widths, depths=depths, paths=paths)
    check_drop_path(drop_path)
    backbone = MPViT(
        widths,
        depths,
        paths,
        mlp_ratio,
        CommonSettings(strides, weights, pretrained),
        drop_path=drop_path,
        checkpointing=checkpointing,
    )
    freeze_stages(backbone, frozen_stages, norms=frozen_norm)
    return backbone


def _attend(stack: nn.Module, features: Tensor) -> Tensor:
    size = (features.shape[2], features.shape[3])
    tokens: Tensor = stack(features.flatten(2).mT, size)  # (B, N, C)
    return torch.unflatten(tokens.mT, -1, size)
