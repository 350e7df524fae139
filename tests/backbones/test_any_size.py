"""Any timm model at any picture size: it is shown to be so, made so by padding, or refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import detbox
from detbox.backbones.timm import TimmBackbone
from detbox.models.detector import Detector
from detbox.registry import BACKBONES
from detbox.structures import FeatureMap, ImageBatch

FREE = [
    *("resnet18", "resnext50_32x4d", "regnety_002", "convnext_atto", "convnextv2_atto"),
    *("efficientnet_b0", "mobilenetv3_small_050", "mobilenetv4_conv_small_035", "ghostnet_050"),
    *("hgnetv2_b0", "pvt_v2_b0", "edgenext_xx_small", "fastvit_t8", "repvit_m0_9", "vovnet39a"),
    *("poolformer_s12", "focalnet_tiny_srf", "davit_tiny", "efficientvit_b0", "densenet121"),
    *("cspresnet50", "res2net50_14w_8s", "dm_nfnet_f0", "swinv2_cr_tiny_224", "vgg11"),
]
WHOLE = {"hrnet_w18_small": 32, "dla34": 32}
FIXED = [
    "mvitv2_tiny",
    "maxvit_tiny_tf_224",
    "coatnet_0_rw_224",
    "levit_128",
    "hiera_tiny_224",
    "gcvit_tiny",
]
MISLEADING = ["inception_v3", "mobilevitv2_050"]
"""maps of other sizes than their strides say"""

SMALL = (
    *("neck.hidden_dim=32", "model.num_heads=4", "model.num_queries=5"),
    *("model.encoder_layers=1", "model.decoder_layers=1", "backbone.pretrained=false"),
)


def build(model: str, *strides: int) -> TimmBackbone:
    """A backbone without memory."""
    with torch.device("meta"):
        return BACKBONES.build({"name": "timm", "model": model, "strides": strides})


def blank(height: int, width: int) -> Tensor:
    """A picture without memory."""
    return torch.empty(1, 3, height, width, device="meta")


def levels(detector: Detector, height: int, width: int) -> list[FeatureMap]:
    """What the detector's encoder reads of a picture that is not padded."""
    seen: list[list[FeatureMap]] = []
    detector.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    detector(ImageBatch(torch.zeros(1, 3, height, width), mask))
    return seen[0]


@pytest.mark.parametrize("model", FREE)
def test_families_take_any_size(model: str) -> None:
    backbone = build(model, 8, 16)
    assert backbone.size_divisor == 1
    for size in ((131, 197), (203, 317)):
        for maps, stride in zip(backbone(blank(*size)), (8, 16), strict=True):
            for cells, side in zip(maps.shape[-2:], size, strict=True):
                assert cells in (side // stride, -(-side // stride))


@pytest.mark.parametrize("model", WHOLE)
def test_families_that_need_whole_multiples_say_so(model: str) -> None:
    backbone = build(model, 8, 16, 32)
    assert backbone.size_divisor == WHOLE[model]
    maps = backbone(blank(97, 130))
    assert [tuple(each.shape[-2:]) for each in maps] == [(16, 20), (8, 10), (4, 5)]


@pytest.mark.parametrize("model", [*FIXED, *MISLEADING])
def test_others_are_refused_when_they_are_built(model: str) -> None:
    with pytest.raises(ValueError, match=r"alone, or gives maps of other sizes.*take another"):
        build(model, 16)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (
            ("resnet10t", "backbone.strides=[32]", "neck=simple_feature_pyramid", "neck.finest=4"),
            (203, 270),
        ),
        (("timm", "backbone.model=dla34"), (97, 130)),
        (("resnet10t",), (20, 300)),
    ],
    ids=["pyramid of a coarse map", "whole multiples", "smaller than the coarsest stride"],
)
@torch.no_grad()
def test_masks_know_what_is_beyond_the_picture(
    options: tuple[str, ...], size: tuple[int, int]
) -> None:
    backbone, *others = options
    cfg = detbox.compose(f"backbone={backbone}", *others, *SMALL)
    finest = levels(detbox.build_detector(cfg, 3).eval(), *size)[0]
    rows, columns = (~finest.mask[0, :, 0]).sum(), (~finest.mask[0, 0]).sum()
    assert rows == -(-size[0] // 8)
    assert columns == -(-size[1] // 8)
