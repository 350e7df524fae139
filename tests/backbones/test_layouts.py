"""Backbones compute what the authors' implementations compute, under the authors' names."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from detbox.backbones.files import load_file
from detbox.backbones.layouts import official_names
from detbox.backbones.timm import TimmBackbone
from detbox.registry import BACKBONES

GOLDENS = Path(__file__).parents[2].parent / "shared/goldens/variants"
FAMILIES = {
    "resnet50_torchvision": {"model": "resnet50", "frozen_norm": True},
    "swin_T_224_1k": {"model": "swin_tiny_patch4_window7_224", "out_norm": True},
    "convnext_tiny": {"model": "convnext_tiny", "out_norm": True},
}
recorded = pytest.mark.skipif(not GOLDENS.is_dir(), reason="needs the recorded official backbones")
each_family = pytest.mark.parametrize("family", FAMILIES)


def build(family: str) -> TimmBackbone:
    return BACKBONES.build({"name": "timm", "strides": [4, 8, 16, 32], **FAMILIES[family]})


def rule() -> Callable[..., object]:
    spec = importlib.util.spec_from_file_location("fill_rule", GOLDENS / "fill_rule.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.value


@recorded
@each_family
def test_official_weights_give_the_official_maps(family: str, tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    value, listed = rule(), json.loads((GOLDENS / f"names/{family}.json").read_text())
    weights = {
        entry["name"]: torch.from_numpy(value(entry["name"], entry["shape"]))
        for entry in listed
        if entry["dtype"].startswith("float")
    }
    torch.save({"model": weights}, tmp_path / "official.pth")
    backbone = build(family).eval()
    line = load_file(backbone, tmp_path / "official.pth")
    assert "authors' release" in line or "timm model" in line
    golden = numpy.load(GOLDENS / f"backbone_{family}.npz")
    expected = [golden[key] for key in golden.files if key.startswith("out/")]
    with torch.no_grad():
        maps = backbone(torch.from_numpy(golden["in/image"]))
    for ours, theirs in zip(maps, map(torch.from_numpy, expected), strict=True):
        assert (ours - theirs).abs().max() < 1e-4 * theirs.std()


@recorded
@each_family
def test_official_names_and_shapes_are_a_bijection_onto_the_authors(family: str) -> None:
    with torch.device("meta"):
        backbone = build(family)
    listed = json.loads((GOLDENS / f"names/{family}.json").read_text())
    theirs = {entry["name"]: tuple(entry["shape"]) for entry in listed}
    names, own = official_names(backbone), backbone.state_dict()
    ours = {names[name].removeprefix("body."): tuple(own[name].shape) for name in own}
    assert len(ours) == len(own)
    computed = ("relative_position_index", "fc.weight", "fc.bias")
    assert ours == {name: shape for name, shape in theirs.items() if not name.endswith(computed)}


def test_resnets_keep_the_body_prefix_of_the_official_detectors() -> None:
    with torch.device("meta"):
        names = official_names(build("resnet50_torchvision"))
    assert names["body.layer1.0.conv1.weight"] == "body.layer1.0.conv1.weight"
