"""Every named backbone: its config composes, and its maps are what channels and strides say."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import pytest
import torch
from named import BY_SIZE, build, rounding
from torch import nn

from detbox.layers.position import SinePosition
from detbox.models.detector import feature_maps

SIZES = [(64, 96), (203, 317), (97, 130), (7, 300)]
CHANNELS = {
    "resnet18": (128, 256, 512),
    "resnet50": (512, 1024, 2048),
    "resnet10t": (128, 256, 512),
    "swin_t": (192, 384, 768),
    "swin_l": (384, 768, 1536),
    "convnext_t": (192, 384, 768),
    "tf_efficientnet_lite0": (40, 112, 320),
    "resnet50_dc5": (2048,),
    "bit_r50": (512, 1024, 2048),
    "mpvit_small": (216, 288, 288),
    "coat_lite_small": (128, 320, 512),
    "coat_small": (320, 320, 320),
    "vit_s_dinov2": (384,),
    "eva02_l": (1024,),
}
STRIDES = {
    "resnet50_dc5": (16,),
    **dict.fromkeys(("vit_s_dinov2", "vit_b_dinov2", "eva02_l"), (14,)),
    **dict.fromkeys(("vit_s_dinov3", "vit_b_dinov3"), (16,)),
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same weights and pixels in every run."""
    torch.manual_seed(0)


class Declared(NamedTuple):
    """What a backbone says of its maps, and what it gives."""

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    shapes: list[list[torch.Size]]
    """of the maps, by image size and level"""


@cache
def declared(name: str) -> Declared:
    """Run the backbone without memory on two images of each size."""
    with torch.device("meta"):
        backbone = build(name)
        images = [torch.empty(2, 3, *size) for size in SIZES]
    shapes = [[each.shape for each in backbone(image)] for image in images]
    return Declared(backbone.channels, backbone.strides, shapes)


@pytest.mark.parametrize("name", BY_SIZE)
def test_maps_have_the_promised_channels_and_sizes_at_any_image_size(name: str) -> None:
    channels, strides, shapes = declared(name)
    assert channels == CHANNELS.get(name, channels)
    assert strides == STRIDES.get(name, (8, 16, 32))
    for size, found in zip(SIZES, shapes, strict=True):
        whole = [max(side, strides[-1]) for side in size]
        sizes = [tuple(rounding(name)(side / stride) for side in whole) for stride in strides]
        expected = [(2, width, *cells) for width, cells in zip(channels, sizes, strict=True)]
        assert [tuple(shape) for shape in found] == expected


@pytest.mark.parametrize("name", BY_SIZE)
def test_masks_and_positions_lie_on_the_cells_that_see_the_image(name: str) -> None:
    _, strides, shapes = declared(name)
    mask = torch.zeros(2, *SIZES[1], dtype=torch.bool)
    mask[1, 97:] = mask[1, :, 130:] = True
    given = [torch.empty(shape) for shape in shapes[1]]
    for each, stride in zip(feature_maps(given, mask, SinePosition(8)), strides, strict=True):
        assert each.position.shape[-2:] == each.mask.shape[-2:] == each.tensor.shape[-2:]
        assert not each.mask[0].any()
        rows, columns = (~each.mask[1, :, 0]).sum(), (~each.mask[1, 0]).sum()
        assert abs(rows - 97 / stride) < 1.5
        assert abs(columns - 130 / stride) < 1.5
        assert (~each.mask[1]).sum() == rows * columns


@torch.no_grad()
@pytest.mark.parametrize("name", BY_SIZE)
def test_evaluation_is_deterministic_and_images_do_not_see_each_other(name: str) -> None:
    backbone = lively(build(name).eval())
    pixels = torch.randn(2, 3, 49, 70)
    together, again, alone = backbone(pixels), backbone(pixels), backbone(pixels[1:])
    for first, second, one in zip(together, again, alone, strict=True):
        assert first.isfinite().all()
        assert first.std() > 0
        assert torch.equal(first, second)
        torch.testing.assert_close(first[1:], one, rtol=1e-3, atol=1e-3 * float(one.abs().max()))


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "hgnetv2_b4", "tf_efficientnet_lite0"])
def test_cells_far_from_the_padding_are_those_of_the_image_alone(name: str) -> None:
    width, reach = 224, reach_of(name)
    backbone = build(name, "backbone.strides=[8]").eval()
    image = torch.randn(1, 3, 40, width)
    padded = nn.functional.pad(image, (0, 96))
    ((alone,), (batched,)) = backbone(image), backbone(padded)
    near = (width - reach) // 8
    assert near > 8
    scale = float(alone.abs().max())
    torch.testing.assert_close(batched[..., :near], alone[..., :near], rtol=0, atol=1e-5 * scale)
    assert not torch.allclose(batched[..., : width // 8], alone, rtol=0, atol=1e-3 * scale)


def reach_of(name: str) -> int:
    """Pixels to the right of a cell of stride 8 that it sees, by the gradient."""
    backbone = build(name, "backbone.strides=[8]").eval()
    pixels = torch.randn(1, 3, 40, 512, requires_grad=True)
    with torch.enable_grad():
        (features,) = backbone(pixels)
        seen = torch.autograd.grad(features[..., 0].square().sum(), pixels)[0].abs().amax((0, 1, 2))
    return int(seen.nonzero().max()) + 8


def lively(backbone: nn.Module) -> nn.Module:
    """Scales that start near zero (layer scale, last norms of blocks) would hide the blocks."""
    for parameter in backbone.parameters():
        if parameter.ndim == 1:
            parameter.add_(0.2 * torch.rand_like(parameter))
    return backbone
