"""CoaT (Xu et al., ICCV 2021): scales that talk to each other, at any image size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detbox.backbones.checkpointing import recomputed
from detbox.backbones.factorised import (
    OFFICIAL,
    ConvRelativePosition,
    FactorisedAttention,
    FactorisedStack,
    Size,
    check_stages,
    initialise,
    join_tokens,
    split_tokens,
)
from detbox.backbones.own import CommonSettings, OwnBackbone, freeze_stages
from detbox.backbones.settings import check_drop_path
from detbox.errors import SettingError
from detbox.messages import listed
from detbox.padding import enlarged
from detbox.ranges import Count, ShareBelowOne, Stages, Whole
from detbox.registry import BACKBONES

PARALLEL = ("2", "3", "4")
"""stages that exchange their maps"""


class SerialStage(nn.Module):
    """Cut a map into patches, put a class token first, and attend (sec. 5.1)."""

    def __init__(self, inputs: int, patch: int, dim: int, stack: FactorisedStack) -> None:
        super().__init__()
        self.patch = nn.Conv2d(inputs, dim, patch, patch)
        self.norm = nn.LayerNorm(dim)  # PyTorch's eps here, another one in the blocks
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.stack = stack

    def forward(self, features: Tensor) -> tuple[Tensor, Size]:
        """(B, C, h, w) to tokens and the size of their map; incomplete patches fall away."""
        cells = self.patch(features)
        size = (cells.shape[2], cells.shape[3])
        tokens = self.norm(cells.flatten(2).mT)  # (B, N, C)
        first = self.class_token.expand(len(tokens), -1, -1)
        return self.stack(torch.cat([first, tokens], 1), size), size


class ScaleAttention(nn.Module):
    """Attention within one scale of a parallel block, normalised before."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.attention = FactorisedAttention(dim)

    def forward(self, tokens: Tensor, relative: ConvRelativePosition, size: Size) -> Tensor:
        """Tokens to the same."""
        update: Tensor = self.attention(self.norm(tokens), relative, size)
        return update


class ParallelBlock(nn.Module):
    """Attend within each scale, add what all scales found, then one MLP for all (sec. 5.1)."""

    def __init__(self, dim: int, mlp_ratio: int, drop_path: float) -> None:
        from timm.layers import DropPath, Mlp

        super().__init__()
        self.attentions = nn.ModuleDict({stage: ScaleAttention(dim) for stage in PARALLEL})
        self.mlp_norms = nn.ModuleDict({stage: nn.LayerNorm(dim, eps=1e-6) for stage in PARALLEL})
        self.mlp = Mlp(dim, mlp_ratio * dim)
        self.drop_path = DropPath(drop_path)

    def forward(
        self, tokens: Sequence[Tensor], relative: Sequence[ConvRelativePosition], sizes: list[Size]
    ) -> tuple[Tensor, ...]:
        """Tokens of each scale to the same."""
        parts = zip(self.attentions.values(), tokens, relative, sizes, strict=True)
        found = [attention(each, place, size) for attention, each, place, size in parts]
        moved = [
            each + self.drop_path(_gathered(found, sizes, size))
            for each, size in zip(tokens, sizes, strict=True)
        ]
        norms = zip(self.mlp_norms.values(), moved, strict=True)
        return tuple(each + self.drop_path(self.mlp(norm(each))) for norm, each in norms)


class CoaT(OwnBackbone):
    """Co-scale conv-attentional transformer; maps have H / stride x W / stride cells, rounded down.

    Args:
        widths: of the four stages; with parallel blocks the last three are equal.
        depths: serial blocks of the four stages.
        mlp_ratios: inner width of the MLPs as a multiple of the stage's.
        parallel_depth: blocks in which the last three stages exchange their maps; 0: CoaT-Lite.
        chosen: see `OwnBackbone`.
        drop_path: stochastic depth rate of every block.
        checkpointing: recompute the blocks' activations in the backward pass.
    """

    model = "coat"
    substitutions = (
        (r"^stages\.(\d)\.patch\.", r"patch_embed\1.proj."),
        (r"^stages\.(\d)\.norm\.", r"patch_embed\1.norm."),
        (r"^stages\.(\d)\.class_token$", r"cls_token\1"),
        (r"^stages\.(\d)\.stack\.position\.conv\.", r"cpe\1.proj."),
        (r"^stages\.(\d)\.stack\.relative\.convs\.", r"crpe\1.conv_list."),
        (r"^stages\.(\d)\.stack\.blocks\.", r"serial_blocks\1."),
        *OFFICIAL,
        (r"^parallel\.(\d+)\.attentions\.(\d)\.norm\.", r"parallel_blocks.\1.norm1\2."),
        (r"^parallel\.(\d+)\.attentions\.(\d)\.(\w+)\.", r"parallel_blocks.\1.\3\2."),
        (r"^parallel\.(\d+)\.mlp_norms\.(\d)\.", r"parallel_blocks.\1.norm2\2."),
        (r"^parallel\.(\d+)\.mlp\.", r"parallel_blocks.\1.mlp2."),
    )
    copies = (
        (r"cpe(\d)\.", r"serial_blocks\1.{stages.\1.stack.blocks}.cpe."),
        (r"crpe(\d)\.", r"serial_blocks\1.{stages.\1.stack.blocks}.factoratt_crpe.crpe."),
        (r"crpe([234])\.", r"parallel_blocks.{parallel}.factoratt_crpe\1.crpe."),
        (r"(parallel_blocks\.\d+)\.mlp2\.", r"\1.mlp3."),
        (r"(parallel_blocks\.\d+)\.mlp2\.", r"\1.mlp4."),
    )

    def __init__(
        self,
        widths: Sequence[int],
        depths: Sequence[int],
        mlp_ratios: Sequence[int],
        parallel_depth: int,
        chosen: CommonSettings,
        *,
        drop_path: float,
        checkpointing: bool,
    ) -> None:
        super().__init__(widths, chosen)
        self.checkpointing = checkpointing
        self.stages = nn.ModuleDict()
        for level in range(4 if parallel_depth else self.levels[-1] + 1):
            inputs, patch = (widths[level - 1], 2) if level else (3, 4)
            stack = FactorisedStack(
                widths[level], mlp_ratios[level], [drop_path] * depths[level], checkpointing
            )
            self.stages[str(level + 1)] = SerialStage(inputs, patch, widths[level], stack)
        self.parallel = nn.ModuleList(
            ParallelBlock(widths[-1], mlp_ratios[-1], drop_path) for _ in range(parallel_depth)
        )
        initialise(self)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) normalised pixels of any size to one (B, C, h, w) map per stride."""
        features = enlarged(pixels, 1, 32 if len(self.parallel) else self.strides[-1])
        tokens, sizes = [], []
        for stage in self.stages.values():
            found, size = stage(features)
            features = split_tokens(found, size)[1]
            tokens.append(found)
            sizes.append(size)
        if len(self.parallel):
            tokens[1:] = self._exchanged(tokens[1:], sizes[1:])
        return tuple(split_tokens(tokens[level], sizes[level])[1] for level in self.levels)

    def _exchanged(self, tokens: list[Tensor], sizes: list[Size]) -> list[Tensor]:
        stacks = [cast("SerialStage", self.stages[stage]).stack for stage in PARALLEL]
        relative = [stack.relative for stack in stacks]
        for block in self.parallel:
            tokens = [
                stack.position(each, size)
                for stack, each, size in zip(stacks, tokens, sizes, strict=True)
            ]
            tokens = list(recomputed(self.checkpointing, block, tokens, relative, sizes))
        return tokens


@BACKBONES.register("coat")
def coat(
    *,
    widths: tuple[Count, ...] = (64, 128, 320, 512),
    depths: tuple[Count, ...] = (3, 4, 6, 3),
    mlp_ratios: tuple[Count, ...] = (8, 8, 4, 4),
    parallel_depth: Whole = 0,
    strides: tuple[Count, ...] = (8, 16, 32),
    weights: str | None = None,
    pretrained: str = "auto",
    frozen_stages: Stages = 0,
    drop_path: ShareBelowOne = 0.0,
    checkpointing: bool = False,
) -> CoaT:
    """Build a CoaT on random weights, CoaT-Lite Small unless told otherwise; see `CoaT`.

    Args:
        widths: of the four stages.
        depths: of the four stages.
        mlp_ratios: of the four stages.
        parallel_depth: 6 for CoaT, 0 for CoaT-Lite.
        strides: levels to return, fine to coarse, some of 4, 8, 16, 32.
        weights: local weights file, `.pth` or `.safetensors`; no hub is asked.
        pretrained: auto or true need the file, false is content with random weights.
        frozen_stages: 1 freezes all up to stride 4, 2 up to stride 8 and so on; 0 nothing, -1 all.
        drop_path: of every block.
        checkpointing: less memory, more time.

    Raises:
        ValueError: a stride or frozen stage that there is not, a bad `pretrained`, other than
            four stages, or unequal ones that should exchange their maps.
    """
    check_stages(widths, depths=depths, mlp_ratios=mlp_ratios)
    check_drop_path(drop_path)
    check_parallel(parallel_depth, widths, mlp_ratios)
    chosen = CommonSettings(strides, weights, pretrained)
    backbone = CoaT(
        widths,
        depths,
        mlp_ratios,
        parallel_depth,
        chosen,
        drop_path=drop_path,
        checkpointing=checkpointing,
    )
    freeze_stages(backbone, frozen_stages)
    return backbone


def check_parallel(depth: int, widths: Sequence[int], mlp_ratios: Sequence[int]) -> None:
    """Refuse parallel blocks between stages that are not alike.

    Raises:
        ValueError: a negative depth, or unequal widths or ratios of the last three stages.
    """
    if depth < 0 or (depth and max(len(set(widths[1:])), len(set(mlp_ratios[1:]))) > 1):
        raise SettingError(
            f"backbone.parallel_depth={depth}: 0 or more blocks add maps of the last three stages, "
            "whose widths and ratios are equal; got "
            f"backbone.widths={listed(widths)} backbone.mlp_ratios={listed(mlp_ratios)}"
        )


def _gathered(found: Sequence[Tensor], sizes: Sequence[Size], target: Size) -> Tensor:
    """Sum of all scales' tokens at one size."""
    scaled = [_resized(each, size, target) for each, size in zip(found, sizes, strict=True)]
    return torch.stack(scaled).sum(0)


def _resized(tokens: Tensor, size: Size, target: Size) -> Tensor:
    if size == target:
        return tokens
    first, cells = split_tokens(tokens, size)
    return join_tokens(first, F.interpolate(cells, target, mode="bilinear", align_corners=False))
