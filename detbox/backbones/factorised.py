"""Factorised attention with convolutional positions, which CoaT and MPViT are made of.

Xu et al., ICCV 2021, sec. 4. Tokens (B, N, C) are the cells of an (h, w) map row by row, behind
any number of class tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detbox.backbones.checkpointing import recomputed
from detbox.backbones.own import STRIDES
from detbox.errors import SettingError
from detbox.messages import listed

NUM_HEADS = 8
"""of the attention in CoaT and MPViT"""
WINDOWS = {3: 2, 5: 3, 7: 3}
"""side of a relative position's window -> heads that use it, of all `NUM_HEADS` (sec. 4.2)"""

OFFICIAL = (
    (r"\.position\.conv\.", ".cpe.proj."),
    (r"\.relative\.convs\.", ".crpe.conv_list."),
    (r"\.attention\.qkv\.", ".factoratt_crpe.qkv."),
    (r"\.attention\.projection\.", ".factoratt_crpe.proj."),
    (r"\.attention_norm\.", ".norm1."),
    (r"\.mlp_norm\.", ".norm2."),
)
"""parts of names here -> in both authors' releases"""

Size = tuple[int, int]


class ConvPosition(nn.Module):
    """Add a depthwise convolution of the map to it: where a cell is (sec. 4.2)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, tokens: Tensor, size: Size) -> Tensor:
        """Tokens to the same; class tokens stay as they are."""
        first, cells = split_tokens(tokens, size)
        return join_tokens(first, cells + self.conv(cells))


class ConvRelativePosition(nn.Module):
    """Queries times values convolved depthwise: how far away a value is (sec. 4.2)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.widths = [heads * dim // NUM_HEADS for heads in WINDOWS.values()]
        self.convs = nn.ModuleList(
            nn.Conv2d(width, width, side, padding=side // 2, groups=width)
            for side, width in zip(WINDOWS, self.widths, strict=True)
        )

    def forward(self, queries: Tensor, values: Tensor, size: Size) -> Tensor:
        """(B, N, C) twice to the same; class tokens, which have no place, get zeros."""
        first, cells = split_tokens(values, size)
        parts = torch.split(cells, self.widths, 1)
        near = torch.cat([conv(part) for conv, part in zip(self.convs, parts, strict=True)], 1)
        return queries * join_tokens(torch.zeros_like(first), near)


class FactorisedAttention(nn.Module):
    """Attention whose cost grows linearly with the number of tokens (sec. 4.1)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = (dim // NUM_HEADS) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.projection = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, relative: ConvRelativePosition, size: Size) -> Tensor:
        """Tokens to the same."""
        queries, keys, values = self.qkv(tokens).chunk(3, -1)  # (B, N, C) each
        context = _heads(keys.softmax(1)).mT @ _heads(values)  # (B, heads, d, d)
        attended = (_heads(queries) @ context).transpose(1, 2).flatten(2)  # (B, N, C)
        output: Tensor = self.projection(self.scale * attended + relative(queries, values, size))
        return output


class FactorisedBlock(nn.Module):
    """Factorised attention, then an MLP, both residual and normalised before."""

    def __init__(self, dim: int, mlp_ratio: int, drop_path: float) -> None:
        from timm.layers import DropPath, Mlp

        super().__init__()
        self.attention_norm = nn.LayerNorm(dim, eps=1e-6)
        self.attention = FactorisedAttention(dim)
        self.mlp_norm = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, mlp_ratio * dim)
        self.drop_path = DropPath(drop_path)

    def forward(
        self, tokens: Tensor, position: ConvPosition, relative: ConvRelativePosition, size: Size
    ) -> Tensor:
        """Tokens to the same."""
        tokens = position(tokens, size)
        update = self.attention(self.attention_norm(tokens), relative, size)
        tokens = tokens + self.drop_path(update)
        update = self.mlp(self.mlp_norm(tokens))
        output: Tensor = tokens + self.drop_path(update)
        return output


class FactorisedStack(nn.Module):
    """Blocks of one width that share both of their positions; one block per drop path rate."""

    def __init__(
        self, dim: int, mlp_ratio: int, drop_paths: Sequence[float], checkpointing: bool
    ) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        self.position = ConvPosition(dim)
        self.relative = ConvRelativePosition(dim)
        self.blocks = nn.ModuleList(FactorisedBlock(dim, mlp_ratio, rate) for rate in drop_paths)

    def forward(self, tokens: Tensor, size: Size) -> Tensor:
        """Tokens to the same."""
        for block in self.blocks:
            tokens = recomputed(
                self.checkpointing, block, tokens, self.position, self.relative, size
            )
        return tokens


def split_tokens(tokens: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """Class tokens (B, T, C), T often 0, and the map (B, C, h, w)."""
    cells = size[0] * size[1]
    first, cells_of = torch.split(tokens, [tokens.shape[1] - cells, cells], 1)
    return first, torch.unflatten(cells_of.mT, -1, size)


def join_tokens(first: Tensor, cells: Tensor) -> Tensor:
    """Class tokens (B, T, C) and a map (B, C, h, w) as tokens."""
    return torch.cat([first, cells.flatten(2).mT], 1)


def initialise(module: nn.Module) -> None:
    """Small random weights for linear layers and class tokens, as both papers' authors have it."""
    from timm.layers import trunc_normal_

    for name, parameter in module.named_parameters():
        if "class_token" in name:
            trunc_normal_(parameter, std=0.02)
    for part in module.modules():
        if isinstance(part, nn.Linear):
            trunc_normal_(part.weight, std=0.02)
            nn.init.zeros_(part.bias)


def check_stages(widths: Sequence[int], **settings: Sequence[int]) -> None:
    """Refuse settings by stage that are not four positive numbers.

    Raises:
        ValueError: one has another number, or a width does not divide among the heads.
    """
    for name, values in {"widths": widths, **settings}.items():
        if len(values) != len(STRIDES) or min(values) < 1:
            raise SettingError(
                f"backbone.{name} has one positive number for each of {len(STRIDES)} stages; "
                f"got {list(values)}"
            )
    if uneven := [width for width in widths if width % NUM_HEADS]:
        raise SettingError(
            f"backbone.widths={listed(widths)} must be multiples of {NUM_HEADS}, the number of "
            f"heads; got {uneven[0]}, try {max(1, round(uneven[0] / NUM_HEADS)) * NUM_HEADS}"
        )


def _heads(tokens: Tensor) -> Tensor:
    return torch.unflatten(tokens, -1, (NUM_HEADS, -1)).transpose(1, 2)  # (B, heads, N, d)
