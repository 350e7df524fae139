"""A file fills a backbone wholly and unmistakably, or is refused."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from detbox.backbones.timm import TimmBackbone
from detbox.backbones.weights import load_pretrained
from detbox.registry import BACKBONES


def build(model: str = "resnet10t", **settings: Any) -> TimmBackbone:
    return BACKBONES.build({"name": "timm", "model": model, **settings})


def load(content: object, folder: Path, **settings: Any) -> tuple[TimmBackbone, str]:
    """A backbone filled from a file of this, and the line that says so."""
    torch.save(content, folder / "weights.pth")
    backbone = build(weights=str(folder / "weights.pth"), **settings)
    return backbone, load_pretrained(backbone, required=True)


def classifier(model: str = "resnet10t", value: float | None = None) -> dict[str, Tensor]:
    """The whole model's tensors, all of one value if there is any."""
    tensors = timm.create_model(model).state_dict()
    return tensors if value is None else {n: torch.full_like(t, value) for n, t in tensors.items()}


def below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: each for name, each in tensors.items()}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("resnet26", "resnet50"),
        ("resnet34", "resnet18"),
        ("convnext_pico", "convnext_atto"),
        ("vit_small_patch16_36x1_224", "vit_small_patch16_224"),
        ("efficientnet_b0", "tf_efficientnet_lite0"),
        ("pvt_v2_b1", "pvt_v2_b0"),
        ("regnety_002", "regnetx_002"),
    ],
)
def test_a_relative_of_other_depth_or_parts_is_refused(
    theirs: str, ours: str, tmp_path: Path
) -> None:
    strides = (16,) if ours.startswith("vit") else (8, 16, 32)
    with pytest.raises(ValueError, match="is of another model than"):
        load(classifier(theirs), tmp_path, model=ours, strides=strides)


@pytest.mark.parametrize("model", ["swin_tiny_patch4_window7_224", "convnext_atto", "resnet18"])
def test_stages_beyond_the_last_stride_may_be_left(model: str, tmp_path: Path) -> None:
    _, line = load(classifier(model), tmp_path, model=model, strides=(4, 8))
    assert " missing (" not in line
    assert " left over (" in line


@pytest.mark.parametrize("prefix", ["", "backbone.", "backbone.0."])
@pytest.mark.parametrize("strides", [(8, 16, 32), (4, 8), (16,)])
@pytest.mark.parametrize("model", ["swin_tiny_patch4_window7_224", "convnext_tiny"])
def test_norms_and_stages_of_a_detector_that_are_not_read_may_be_left(
    model: str, strides: tuple[int, ...], prefix: str, tmp_path: Path
) -> None:
    released = {"model": model, "strides": (4, 8, 16, 32), "out_norm": True}
    source = BACKBONES.build({"name": "timm", **released})
    names = source.official_names()
    stored = {prefix + names[name][0]: each for name, each in source.state_dict().items()}
    backbone, line = load({"model": stored}, tmp_path, model=model, strides=strides, out_norm=True)
    assert " missing (" not in line
    for name, each in backbone.state_dict().items():
        assert torch.equal(each, source.state_dict()[name])


def test_a_runs_own_backbone_fills_one_of_fewer_levels(tmp_path: Path) -> None:
    source = build(out_norm=True)
    stored = {f"detector.backbone.{name}": each for name, each in source.state_dict().items()}
    backbone, line = load({"state_dict": stored}, tmp_path, strides=(8,), out_norm=True)
    assert " missing (" not in line
    filled, given = (each.get_parameter("norms.2.weight") for each in (backbone, source))
    assert torch.equal(filled, given)


@pytest.mark.parametrize(
    "model", ["resnetv2_18", "densenet121", "cspresnet50", "efficientvit_b0", "dm_nfnet_f0"]
)
def test_timms_own_classifiers_fit_whatever_its_extractors_call_their_parts(
    model: str, tmp_path: Path
) -> None:
    torch.save(classifier(model, 0.5), tmp_path / "weights.pth")
    backbone = build(model, strides=(16, 32), weights=str(tmp_path / "weights.pth"))
    assert "(timm model)" in load_pretrained(backbone, required=True)
    assert all(bool((each == 0.5).all()) for each in backbone.parameters())


@pytest.mark.parametrize(
    ("wrap", "told"),
    [
        (
            lambda own, ema: {"state_dict": own, "state_dict_ema": {"model": ema}},
            "weights from 'state_dict_ema.model'; 'state_dict' left",
        ),
        (
            lambda own, ema: {"model": own, "ema": {"module": ema, "updates": 9}},
            "weights from 'ema.module'; 'model' left",
        ),
        (
            lambda own, ema: {"student": own, "teacher": ema},
            "weights from 'teacher'; 'student' left",
        ),
        (
            lambda own, ema: {"state_dict": below("model.", own) | below("ema_model.", ema)},
            "below 'ema_model.'); 2 left over (ema_model.fc.bias, ema_model.fc.weight); "
            "weights from 'state_dict'; 'model' left",
        ),
    ],
)
def test_averaged_weights_go_first_and_the_line_says_so(
    wrap: Callable[..., object], told: str, tmp_path: Path
) -> None:
    backbone, line = load(wrap(classifier(value=0.1), classifier(value=0.9)), tmp_path)
    assert all(bool((each == 0.9).all()) for each in backbone.parameters())
    assert line.endswith(told)


def test_a_module_whose_own_names_look_like_a_wrappers_is_filled(tmp_path: Path) -> None:
    plain, other = (nn.Sequential(OrderedDict(model=nn.Conv2d(3, 4, 2))) for _ in range(2))
    torch.save({"model": below("module.", other.state_dict())}, tmp_path / "a.pth")
    load_pretrained(plain, required=True, weights=str(tmp_path / "a.pth"))
    assert torch.equal(plain.get_parameter("model.weight"), other.get_parameter("model.weight"))


def test_a_file_with_two_of_them_is_refused(tmp_path: Path) -> None:
    both = {f"{who}.backbone.{n}": t for who in ("a", "b") for n, t in classifier().items()}
    with pytest.raises(ValueError, match=r"more than once, below a\.backbone\. and b\.backbone\."):
        load(both, tmp_path)


def test_weights_that_are_not_finite_are_named(tmp_path: Path) -> None:
    broken = classifier()
    broken["layer2.0.conv1.weight"][0] = torch.nan
    with pytest.raises(ValueError, match=r"not finite: layer2\.0\.conv1\.weight"):
        load(broken, tmp_path)


@pytest.mark.parametrize("content", [{3: torch.ones(1)}, {"epoch": 2, "best": {}}, [1, 2]])
def test_files_without_tensors_by_name_say_what_they_have(content: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no usable tensors by name \(it has (keys|a list)"):
        load(content, tmp_path)


def test_other_keys_beside_the_tensors_do_not_matter(tmp_path: Path) -> None:
    assert " missing (" not in load(classifier() | {7: torch.ones(1)}, tmp_path)[1]


def test_an_array_under_the_name_of_an_archive_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"no readable \.npz file"):
        load_pretrained(build(weights=str(tmp_path / "a.npz")), required=True)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is a folder; give a weights file"):
        load_pretrained(build(weights=str(tmp_path)), required=True)


def test_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(classifier(), tmp_path / "a.pth")
    assert " missing (" not in load_pretrained(build(weights="~/a.pth"), required=True)
