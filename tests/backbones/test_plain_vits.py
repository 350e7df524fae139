"""Plain ViTs: one map at any image size, from the patches alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from named import build
from safetensors.torch import save_file
from torch import Tensor, nn

import detbox
from detbox.backbones.timm import TimmBackbone
from detbox.backbones.weights import load_pretrained
from detbox.models.detector import shrunk_mask
from detbox.padding import padded
from detbox.structures import ImageBatch

VITS = {
    "vit_small_patch14_reg4_dinov2": (14, 70),
    "vit_small_patch16_dinov3": (16, 64),
    "eva02_tiny_patch14_224": (14, 56),
}
"""timm's name -> stride and an image side"""


def vit(model: str, *options: str) -> TimmBackbone:
    """The backbone of a small model, on random weights."""
    stride = VITS[model][0]
    torch.manual_seed(0)
    backbone = build("timm", f"backbone.model={model}", f"backbone.strides=[{stride}]", *options)
    return backbone.eval()


@torch.no_grad()
@pytest.mark.parametrize("model", VITS)
def test_at_the_models_own_size_the_map_is_its_last_tokens_without_the_class(model: str) -> None:
    stride, side = VITS[model]
    theirs: Any = timm.create_model(model, img_size=side).eval()
    ours = vit(model)
    stored = {f"body.model.{name}": each for name, each in theirs.state_dict().items()}
    if "body.model.pos_embed" in stored:
        stored["body.model.pos_embed"] = ours.state_dict()["body.model.pos_embed"]
        theirs.pos_embed.copy_(interpolated(ours.body.model, side // stride))
    ours.load_state_dict({name: stored[name] for name in ours.state_dict()})
    pixels = torch.randn(2, 3, side, side)
    _, (tokens,) = theirs.forward_intermediates(pixels, indices=1, output_fmt="NLC")
    (features,) = ours(pixels)
    assert tokens.shape[1] == (side // stride) ** 2
    torch.testing.assert_close(features.flatten(2).transpose(1, 2), tokens)


def interpolated(model: Any, cells: int) -> Tensor:
    """The learnt positions at another number of cells, those of the class token kept."""
    positions = model.pos_embed
    extra = positions.shape[1] - model.patch_embed.num_patches
    old = round(model.patch_embed.num_patches**0.5)
    grid = positions[:, extra:].unflatten(1, (old, old)).permute(0, 3, 1, 2)
    grid = nn.functional.interpolate(grid, (cells, cells), mode="bicubic", antialias=True)
    return torch.cat((positions[:, :extra], grid.flatten(2).transpose(1, 2)), 1)


@torch.no_grad()
@pytest.mark.parametrize("model", VITS)
def test_incomplete_patches_are_filled_with_zeros(model: str) -> None:
    stride, backbone = VITS[model][0], vit(model)
    pixels = torch.zeros(1, 3, 3 * stride, 4 * stride)
    image = pixels[:, :, : 2 * stride + 1, : 3 * stride + 5].normal_()
    for ours, expected in zip(backbone(image), backbone(pixels), strict=True):
        assert ours.shape[-2:] == (3, 4)
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("model", VITS)
def test_every_parameter_learns_and_drop_path_is_for_training_only(model: str) -> None:
    backbone, pixels = vit(model, "backbone.drop_path=0.5"), torch.randn(4, 3, 50, 66)
    assert torch.equal(backbone(pixels)[0], backbone(pixels)[0])
    first, second = backbone.train()(pixels)[0], backbone(pixels)[0]
    assert not torch.equal(first, second)
    (first * torch.randn_like(first)).sum().backward()
    assert all(each.grad is not None for each in backbone.parameters())


def test_a_file_of_the_whole_model_fills_it(tmp_path: Path) -> None:
    model = "eva02_tiny_patch14_224"
    theirs: Any = timm.create_model(model)
    stored = {name: each.clone() for name, each in theirs.state_dict().items()}
    save_file(stored, tmp_path / "vit.safetensors")
    ours = vit(model, f"backbone.weights={tmp_path / 'vit.safetensors'}")
    line = load_pretrained(ours, required=True)
    assert "(timm model)" in line
    assert " missing (" not in line
    filled = ours.get_parameter("body.model.patch_embed.proj.weight")
    assert torch.equal(filled, theirs.patch_embed.proj.weight)


def test_metas_release_of_dinov2_fills_it(tmp_path: Path) -> None:
    model = "vit_small_patch14_reg4_dinov2"
    theirs = timm.create_model(model).state_dict()
    class_position = torch.randn(1, 1, 384)
    released = {name: each.clone() for name, each in theirs.items() if name != "reg_token"}
    released["register_tokens"] = theirs["reg_token"]
    released["pos_embed"] = torch.cat((class_position, theirs["pos_embed"]), 1)
    released["mask_token"] = torch.zeros(1, 384)
    ours, line = loaded(model, released, tmp_path)
    assert "; 2 left over (norm.bias, norm.weight" in line
    expected = theirs | {"cls_token": theirs["cls_token"] + class_position}
    for name, value in ours.body.model.state_dict().items():
        assert torch.equal(value, expected[name])


def test_metas_release_of_dinov3_fills_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = "vit_small_patch16_dinov3"
    theirs = timm.create_model(model).state_dict()
    released = {_released(name): each.clone() for name, each in theirs.items()}
    released |= {"mask_token": torch.zeros(1, 384), "rope_embed.periods": torch.zeros(16)}
    released |= {f"blocks.{block}.attn.qkv.bias": torch.zeros(3 * 384) for block in range(12)}
    ours, line = loaded(model, released, tmp_path)
    assert " missing (" not in line
    assert not capsys.readouterr().out
    for name, value in ours.body.model.state_dict().items():
        assert torch.equal(value, theirs[name])


def _released(name: str) -> str:
    name = name.replace("reg_token", "storage_tokens")
    return name.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")


def test_positions_learnt_at_another_size_are_fitted(tmp_path: Path) -> None:
    model = "vit_small_patch14_reg4_dinov2"
    small = timm.create_model(model, img_size=224).state_dict()
    ours, _ = loaded(model, small, tmp_path)
    found = ours.body.model.pos_embed.detach()
    assert found.shape == (1, 37 * 37, 384)
    grid = small["pos_embed"].unflatten(1, (16, 16)).permute(0, 3, 1, 2)
    grid = nn.functional.interpolate(grid, (37, 37), mode="bicubic", antialias=True)
    torch.testing.assert_close(found, grid.flatten(2).mT)


def loaded(model: str, tensors: dict[str, Tensor], folder: Path) -> tuple[TimmBackbone, str]:
    """A backbone filled from a file of these, and the line that says so."""
    torch.save(tensors, folder / "vit.pth")
    ours = vit(model, f"backbone.weights={folder / 'vit.pth'}")
    return ours, load_pretrained(ours, required=True)


def test_cells_beyond_the_picture_are_padding_to_the_detector() -> None:
    given = ImageBatch(torch.ones(1, 3, 29, 20), torch.zeros(1, 29, 20).bool())
    images = padded(given, divisor=14, least=14)
    assert images.pixels.shape == (1, 3, 42, 28)
    assert not images.pixels[:, :, 29:].any()
    assert not images.mask[:, :29, :20].any()
    assert images.mask[:, 29:].all()
    assert images.mask[:, :, 20:].all()
    fine = shrunk_mask(images.mask, torch.Size((6, 4)))[0]
    assert (~fine[:, 0]).tolist() == [True] * 5 + [False]
    assert (~fine[0]).tolist() == [True] * 3 + [False]


@pytest.mark.parametrize("name", ["vit_s_dinov2", "vit_s_dinov3"])
def test_a_detector_reads_four_levels_of_the_simple_pyramid(name: str) -> None:
    small = ("neck.hidden_dim=32", "model.num_heads=4", "backbone.pretrained=false")
    cfg = detbox.compose(f"backbone={name}", *small)
    with torch.device("meta"):
        detector = detbox.build_detector(cfg, 4)
        stride = detector.backbone.strides[0]
        levels = detector.neck(detector.backbone(torch.empty(1, 3, 97, 130)))
    assert detector.neck.strides == (stride // 2, stride, 2 * stride, 4 * stride)
    assert len(levels) == 4


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("backbone.strides=[8,16]", r"some of \[16\]"),
        ("backbone.frozen_stages=1", r"has strides \[16\]; try backbone\.frozen_stages=3 or -1"),
    ],
)
def test_what_a_single_stride_cannot_do_is_refused(option: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        vit("vit_small_patch16_dinov3", option)
