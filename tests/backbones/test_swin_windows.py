"""Shifted windows on maps that the window does not divide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.swin_transformer_v2 import SwinTransformerV2Block
from torch import Tensor, nn
from torch.nn import functional as F

from detbox.backbones.swin import PADDED, pad_before_shifting

VERSIONS = (SwinTransformerBlock, SwinTransformerV2Block)
WINDOW, DIM, HEADS = 4, 16, 2
Scores = Callable[[Any, Tensor, Tensor], tuple[Tensor, Tensor]]


def block(version: type[nn.Module], size: tuple[int, int], shift: int) -> Any:
    torch.manual_seed(0)
    settings = {"window_size": WINDOW, "shift_size": shift, "always_partition": True}
    made: Any = version(DIM, size, num_heads=HEADS, dynamic_mask=True, **settings).eval()
    for norm in (made.norm1, made.norm2):
        nn.init.ones_(norm.weight)
    return made


@pytest.mark.parametrize("version", VERSIONS)
def test_opposite_borders_do_not_see_each_other(version: type[nn.Module]) -> None:
    shifted = block(version, (9, 9), shift=2)
    x = torch.randn(1, 9, 9, 16)
    changed = x.clone()
    changed[:, 0] += torch.randn(16)  # top row
    pad_before_shifting(shifted)
    difference = (shifted(x) - shifted(changed)).abs().amax((0, 2, 3))
    assert difference[:2].min() > 0
    assert difference[2:].max() == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_maps_that_the_window_divides_are_timms(version: type[nn.Module]) -> None:
    for shift in (0, 2):
        shifted = block(version, (8, 8), shift)
        x = torch.randn(2, 8, 8, 16)
        expected = shifted(x)
        pad_before_shifting(shifted)
        assert isinstance(shifted, PADDED[version])
        torch.testing.assert_close(shifted(x), expected)


@torch.no_grad()
@pytest.mark.parametrize("shift", [0, 2, 1])
@pytest.mark.parametrize("size", [(3, 3), (6, 9)], ids=str)
@pytest.mark.parametrize("version", VERSIONS)
def test_windows_are_masked_attention_over_the_padded_map(
    version: type[nn.Module], size: tuple[int, int], shift: int
) -> None:
    shifted = block(version, size, shift).double()
    for parameter in shifted.parameters():
        parameter.normal_(0, 0.5)
    pad_before_shifting(shifted)
    x = torch.randn(2, *size, DIM, dtype=torch.float64)
    if version is SwinTransformerBlock:
        expected = x + dense(shifted.attn, products, shifted.norm1(x), shift)
        expected = expected + shifted.mlp(shifted.norm2(expected))
    else:
        expected = x + shifted.norm1(dense(shifted.attn, cosines, x, shift))
        expected = expected + shifted.norm2(shifted.mlp(expected))
    torch.testing.assert_close(shifted(x), expected, rtol=1e-5, atol=1e-5)


def dense(attention: Any, scores: Scores, x: Tensor, shift: int) -> Tensor:
    """Every cell with every other of the map (B, h, w, C), zero-padded to whole windows."""
    height, width = x.shape[1:3]
    padded = F.pad(x, (0, 0, 0, -width % WINDOW, 0, -height % WINDOW))
    rows, columns = padded.shape[1:3]
    cells = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
    apart, offsets = relation(cells, torch.tensor([rows, columns]), shift)
    logits, values = scores(attention, padded.flatten(1, 2), offsets)
    found = (logits + apart).softmax(-1) @ values  # (B, heads, N, d)
    found = attention.proj(found.transpose(1, 2).flatten(2))
    return found.unflatten(1, (rows, columns))[:, :height, :width]


def relation(cells: Tensor, size: Tensor, shift: int) -> tuple[Tensor, Tensor]:
    """What the mask adds to logits (N, N), and offsets from cell to cell (N, N, 2).

    Cells of other windows are out of reach; within a window, -100 parts what the roll joined.
    """
    rolled = (cells - shift) % size
    windows, joined = rolled // WINDOW, rolled >= size - shift
    elsewhere = (windows[:, None] != windows).any(-1)
    parted = (joined[:, None] != joined).any(-1)
    mask = torch.zeros(len(cells), len(cells), dtype=torch.float64)
    mask = mask.masked_fill(parted, -100).masked_fill(elsewhere, -torch.inf)
    return mask, (rolled[:, None] - rolled).clamp(1 - WINDOW, WINDOW - 1)


def products(attention: Any, cells: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, heads, N, N) of scaled products with a table of biases, and values."""
    queries, keys, values = mixed(attention, cells, attention.qkv.bias)
    index = (offsets + WINDOW - 1) @ torch.tensor([2 * WINDOW - 1, 1])
    near = attention.relative_position_bias_table[index]  # (N, N, heads)
    return queries @ keys.mT / (DIM // HEADS) ** 0.5 + near.permute(2, 0, 1), values


def cosines(attention: Any, cells: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of cosines with a bias from log-spaced offsets (Swin v2, sec. 3.3), and values."""
    keyless = torch.cat([attention.q_bias, torch.zeros(DIM), attention.v_bias])
    queries, keys, values = mixed(attention, cells, keyless)
    spread = 8 * offsets.double() / (WINDOW - 1)
    near = attention.cpb_mlp(spread.sign() * (1 + spread.abs()).log2() / 3)  # (N, N, heads)
    cosine = F.cosine_similarity(queries[:, :, :, None], keys[:, :, None], dim=-1)
    return attention.logit_scale.exp() * cosine + 16 * near.sigmoid().permute(2, 0, 1), values


def mixed(attention: Any, cells: Tensor, bias: Tensor) -> Tensor:
    """Queries, keys and values, (B, heads, N, d) each."""
    found = F.linear(cells, attention.qkv.weight, bias)
    return found.unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
