"""Simple feature pyramid for backbones of one stride (ViTDet; Li et al., ECCV 2022, sec. 3)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from detbox.errors import SettingError
from detbox.ranges import Count
from detbox.registry import NECKS

ENLARGE = (4, 2, 1)
"""how many times finer than the backbone's map a level may be; coarser ones are halved"""


class SimpleFeaturePyramid(nn.Module):
    """Levels made side by side from one map: deconvolutions, nothing, or max pooling.

    Sizes are those of the backbone's map times or divided by powers of 2, rounded up. Levels finer
    than the map fit the picture if the map's stride divides it: that is the `size_divisor`.
    """

    def __init__(
        self, channels: int, stride: int, hidden_dim: int, finest: int, num_levels: int
    ) -> None:
        super().__init__()
        scales = [finest / 2**level for level in range(num_levels)]
        self.channels = hidden_dim
        self.size_divisor = stride if finest > 1 else 1
        self.strides = tuple(int(stride / scale) for scale in scales)
        self.levels = nn.ModuleList(_level(channels, hidden_dim, scale) for scale in scales)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The backbone's one map (B, C_0, h, w) to levels (B, C, h, w), fine to coarse."""
        (features,) = maps
        return tuple(level(features) for level in self.levels)


@NECKS.register("simple_feature_pyramid")
def simple_feature_pyramid(
    channels: Sequence[int],
    strides: Sequence[int],
    *,
    hidden_dim: Count = 256,
    finest: int = 2,
    num_levels: Count = 4,
) -> SimpleFeaturePyramid:
    """Build the neck for the one map of a plain ViT.

    Args:
        channels: of the backbone's map; a multiple of 4.
        strides: of the backbone's map, say 16.
        hidden_dim: C, channels of every level.
        finest: times that the first level is finer than the map, 4, 2 or 1; ViTDet has 4.
        num_levels: L; each level is half as fine as the one before.

    Raises:
        ValueError: a backbone of several strides, or settings outside what is built here.
    """
    if len(strides) != 1:
        raise SettingError(
            "neck=simple_feature_pyramid reads a backbone of one stride, got "
            f"{list(strides)}; try neck=fpn or backbone.strides=[{strides[-1]}]"
        )
    if finest not in ENLARGE or strides[0] % finest:
        fitting = [scale for scale in ENLARGE if strides[0] % scale == 0]
        raise SettingError(
            f"neck.finest={finest} does not divide stride {strides[0]} into a whole stride; "
            f"try neck.finest={fitting[0]}"
        )
    if finest > 1 and channels[0] % 4:
        raise SettingError(
            f"neck=simple_feature_pyramid halves {channels[0]} channels once or twice, which does "
            "not come out; try neck.finest=1 or another backbone"
        )
    if num_levels < 1 or hidden_dim < 1:
        raise SettingError(
            "neck.num_levels and neck.hidden_dim must be at least 1, "
            f"got {num_levels} and {hidden_dim}"
        )
    return SimpleFeaturePyramid(channels[0], strides[0], hidden_dim, finest, num_levels)


def _level(channels: int, hidden_dim: int, scale: float) -> nn.Sequential:
    resized, inputs = _resized(channels, scale)
    project = nn.Conv2d(inputs, hidden_dim, 1, bias=False)
    smooth = nn.Conv2d(hidden_dim, hidden_dim, 3, padding=1, bias=False)
    return nn.Sequential(*resized, project, _norm(hidden_dim), smooth, _norm(hidden_dim))


def _resized(channels: int, scale: float) -> tuple[list[nn.Module], int]:
    half, quarter = channels // 2, channels // 4
    if scale == 4:
        first, second = _deconvolution(channels, half), _deconvolution(half, quarter)
        return [first, _norm(half), nn.GELU(), second], quarter
    if scale == 2:
        return [_deconvolution(channels, half)], half
    # A pool per halving; rounding up once for each is rounding up once for all.
    halvings = round(1 / scale).bit_length() - 1
    return [nn.MaxPool2d(2, ceil_mode=True) for _ in range(halvings)], channels


def _deconvolution(inputs: int, outputs: int) -> nn.Module:
    return nn.ConvTranspose2d(inputs, outputs, 2, stride=2)


def _norm(dim: int) -> nn.Module:
    from timm.layers import LayerNorm2d

    return LayerNorm2d(dim, eps=1e-6)
