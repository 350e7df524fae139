"""Backbones from timm: levels, frozen parts, and settings that cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torchvision
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torchvision.models._utils import IntermediateLayerGetter

from detbox.backbones.freezing import way_to_thaw
from detbox.backbones.timm import TimmBackbone
from detbox.registry import BACKBONES

ROOT = Path(__file__).parents[2]
RECORDED = ROOT.parent / "shared/goldens/dino/optim_and_init_DINO_4scale.json"


def build(name: str, *overrides: str) -> TimmBackbone:
    return BACKBONES.build(settings(name, *overrides))


def settings(name: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose(overrides=[f"+backbone={name}", *overrides]).backbone


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnet50",
        "resnet10t",
        "swin_t",
        "convnext_t",
        "tf_efficientnet_lite0",
        "resnet50_dc5 backbone.strides=[16]",
        "bit_r50",
        "mpvit_tiny",
        "coat_lite_tiny",
        "coat_mini",
    ],
)
def test_evaluation_is_deterministic_and_every_trainable_parameter_learns(name: str) -> None:
    backbone = build(*name.split()).eval()
    pixels = torch.randn(2, 3, 49, 66)
    first, second = backbone(pixels), backbone(pixels)
    assert all(torch.equal(a, b) and a.isfinite().all() for a, b in zip(first, second, strict=True))
    sum((maps * torch.randn_like(maps)).sum() for maps in backbone.train()(pixels)).backward()
    trainable = [p for p in backbone.parameters() if p.requires_grad]
    assert trainable
    assert all(parameter.grad is not None for parameter in trainable)


@pytest.mark.parametrize(
    ("size", "padded"), [((33, 47), (36, 48)), ((64, 97), (64, 100)), ((9, 30), (32, 32))]
)
def test_incomplete_patches_are_filled_with_zeros(
    size: tuple[int, int], padded: tuple[int, int]
) -> None:
    backbone, pixels = build("swin_t").eval(), torch.zeros(1, 3, *padded)
    image = pixels[:, :, : size[0], : size[1]].normal_()
    with torch.no_grad():
        for ours, expected in zip(backbone(image), backbone(pixels), strict=True):
            torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("name", ["resnet18", "swin_t", "convnext_t"])
def test_four_strides_are_chosen_by_the_config(name: str) -> None:
    with torch.device("meta"):
        backbone = build(name, "backbone.strides=[4,8,16,32]")
    assert backbone.strides == (4, 8, 16, 32)
    assert len(backbone.channels) == 4


@torch.no_grad()
def test_dc5_is_dilated_as_torchvision_does_it() -> None:
    dilated = {"replace_stride_with_dilation": [False, False, True]}
    theirs = torchvision.models.resnet50(weights=None, **dilated).eval()
    ours = build("resnet50_dc5", "backbone.strides=[16]").eval()
    ours.body.load_state_dict(theirs.state_dict(), strict=False)
    last = IntermediateLayerGetter(theirs, {"layer4": "last"})
    pixels = torch.randn(1, 3, 97, 130)
    torch.testing.assert_close(ours(pixels)[-1], last(pixels)["last"])


def test_any_timm_model_builds_by_name() -> None:
    with torch.device("meta"):
        backbone = build("timm", "backbone.model=hgnetv2_b0")
        maps = backbone(torch.empty(1, 3, 65, 97))
    assert [tuple(x.shape[1:]) for x in maps] == [(256, 9, 13), (512, 5, 7), (1024, 3, 4)]


def test_mean_and_std_are_those_of_the_weights() -> None:
    with torch.device("meta"):
        assert build("tf_efficientnet_lite0").mean == (0.5, 0.5, 0.5)
        assert build("resnet50").std == (0.229, 0.224, 0.225)


@pytest.mark.skipif(not RECORDED.is_file(), reason="needs the recordings of the official models")
def test_resnet50_freezes_and_trains_exactly_the_official_parameters() -> None:
    recorded = json.loads(RECORDED.read_text())
    with torch.device("meta"):
        backbone = build("resnet50")
    ours: dict[bool, set[str]] = {True: set(), False: set()}
    for name, parameter in backbone.named_parameters():
        ours[parameter.requires_grad].add(f"backbone.0.{name}")
    groups = recorded["param_groups"]["default"]["groups"]
    official = {name for group in groups for name in group["names"]}
    assert ours[False] == set(recorded["frozen_parameter_names"])
    assert ours[True] == {name for name in official if name.startswith("backbone.")}


def test_frozen_norms_ignore_the_batch_and_stay_alive_on_random_weights() -> None:
    backbone = build("resnet18").train()
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    backbone(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(value, before[name]) for name, value in backbone.named_buffers())
    assert all(value.any() for name, value in before.items() if name.endswith(".weight"))


def test_frozen_stages_freeze_their_norms_but_no_others() -> None:
    backbone = build("resnet10t", "backbone.frozen_stages=2").train()
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    backbone(torch.randn(2, 3, 64, 64))
    moved = {name for name, value in backbone.named_buffers() if not value.equal(before[name])}
    assert moved
    assert all(name.startswith(("body.layer3.", "body.layer4.")) for name in moved)
    frozen = {name for name, p in backbone.named_parameters() if not p.requires_grad}
    assert {name.split(".")[1] for name in frozen} == {"conv1", "layer1", "layer2"}


def test_a_frozen_stem_ends_before_the_stage_of_stride_4() -> None:
    backbone = build("resnet10t", "backbone.frozen_stem=true").train()
    frozen = {name for name, p in backbone.named_parameters() if not p.requires_grad}
    assert {name.split(".")[1] for name in frozen} == {"conv1"}
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    backbone(torch.randn(2, 3, 64, 64))
    still = {name for name, value in backbone.named_buffers() if value.equal(before[name])}
    assert {name.split(".")[1] for name in still} == {"conv1", "bn1"}
    assert way_to_thaw(backbone).split()[0] == "backbone.frozen_stem=false"
    vit = ("backbone.model=vit_tiny_patch16_224", "backbone.strides=[16]")
    with pytest.raises(ValueError, match=r"before a stage of stride 4, .* has strides \[16\]"):
        build("timm", *vit, "backbone.frozen_stem=true")


def test_drop_path_zero_means_none_even_where_timm_has_a_default() -> None:
    backbone = build("swin_t", "backbone.drop_path=0").train()
    pixels = torch.randn(1, 3, 32, 32)
    assert torch.equal(backbone(pixels)[-1], backbone(pixels)[-1])


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("backbone.model=resnet5", "resnet50"),
        ("backbone.model=resnet50.tv3_in1k", "resnet50.tv2_in1k"),
        ("backbone.model=vit_tiny_patch16_224", r"some of \[16\].*try backbone\.strides=\[16\]"),
        ("backbone.strides=[4,64]", r"\[2, 4, 8, 16, 32\]"),
        ("backbone.strides=[16,8]", "rising"),
        ("backbone.strides=[]", "rising"),
        ("backbone.frozen_stages=7", "frozen_stages=1 or 2 or 3 or 4 or -1"),
        ("backbone.frozen_stages=-2", "at least -1, got -2"),
        ("backbone.output_stride=7", r"none of \(8, 16, 32\)"),
        ("backbone.drop_path=-0.1", "from 0 to below 1"),
        ("backbone.drop_path=1.5", "from 0 to below 1"),
        ("backbone.model=tv_resnet50", "did you mean"),
        ("backbone.pretrained=maybe", "auto, true, false"),
        ("backbone.model=swin_t", "swin_tiny_patch4_window7_224"),
        ("backbone.model=zzz", r"and \d+ more"),
    ],
)
def test_impossible_settings_are_named_with_the_way_out(override: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        build("resnet18", override)


@pytest.mark.parametrize("override", ["backbone.drop_path=0.1", "backbone.output_stride=16"])
def test_what_a_model_does_not_know_is_named(override: str) -> None:
    with pytest.raises(ValueError, match=r"vgg11 gives no feature maps with.*try .* or another"):
        build("timm", "backbone.model=vgg11", override)


def test_a_model_that_cannot_recompute_is_refused() -> None:
    with pytest.raises(ValueError, match=r"leave backbone\.checkpointing=false"):
        build("timm", "backbone.model=hrnet_w18_small", "backbone.checkpointing=true")


def test_a_model_whose_stages_have_no_end_freezes_as_a_whole_or_not_at_all() -> None:
    options = ("backbone.model=vgg11_bn", "backbone.strides=[8,16]")
    with pytest.raises(ValueError, match=r"try backbone\.frozen_stages=.*-1 \(-1: all\)"):
        build("timm", *options, "backbone.frozen_stages=1")
    assert not any(p.requires_grad for p in frozen(*options).parameters())


def frozen(*options: str) -> TimmBackbone:
    """A timm backbone that is frozen as a whole."""
    return build("timm", *options, "backbone.frozen_stages=-1")


def test_a_frozen_vit_stays_as_it_is() -> None:
    backbone = frozen("backbone.model=vit_tiny_patch16_224", "backbone.strides=[16]").train()
    assert not any(p.requires_grad for p in backbone.parameters())


def test_frozen_blocks_drop_no_paths() -> None:
    options = ("backbone.drop_path=0.9", "backbone.strides=[8]")
    pixels = torch.randn(4, 3, 64, 64)
    backbone = build("swin_t", *options, "backbone.frozen_stages=2").train()
    assert torch.equal(backbone(pixels)[0], backbone(pixels)[0])
    backbone = build("swin_t", *options, "backbone.frozen_stages=1").train()
    assert not torch.equal(backbone(pixels)[0], backbone(pixels)[0])


@pytest.mark.parametrize("typed", ["auto", "false", "True"])
def test_pretrained_takes_yaml_booleans(typed: str) -> None:
    assert build("resnet18", f"backbone.pretrained={typed}").pretrained == typed.lower()


def test_pretrained_takes_python_booleans() -> None:
    config = {"name": "timm", "model": "resnet18", "pretrained": True}
    assert BACKBONES.build(config).pretrained == "true"


def test_stages_beyond_the_last_stride_cannot_be_frozen() -> None:
    with pytest.raises(ValueError, match=r"has strides \[2, 4, 8\]"):
        build("resnet18", "backbone.strides=[8]", "backbone.frozen_stages=3")
