"""README's "Add a backbone": a YAML for any of timm's; a class, a builder and a YAML for others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException

import detbox
from detbox.explain import explain
from detbox.registry import BACKBONES
from detbox.structures import ImageBatch

README = Path(__file__).parents[2] / "README.md"
SMALL = (
    *("neck.hidden_dim=32", "model.num_heads=4", "model.num_queries=8", "model.feedforward_dim=32"),
    *("model.encoder_layers=1", "model.decoder_layers=1"),
)
OWN = """\
defaults:
  - /schema/backbone/patches@_here_
  - _self_
width: 24
"""


def block(language: str) -> str:
    """README's one block in this language below "Add a backbone"."""
    text = README.read_text(encoding="utf-8")
    (section,) = re.findall(r"^### Add a backbone$(.*?)^##", text, re.MULTILINE | re.DOTALL)
    (wanted,) = re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return wanted


def folder_with(yaml: str, name: str, folder: Path) -> str:
    """The option that adds a folder of a user's own configuration with this one file in it."""
    file = folder / "backbone" / f"{name}.yaml"
    file.parent.mkdir()
    file.write_text(yaml, encoding="utf-8")
    return f"hydra.searchpath=[file://{folder}]"


@pytest.fixture
def mobilenet(tmp_path: Path) -> tuple[str, str]:
    """Options that choose the backbone of README's YAML."""
    yaml = block("yaml")
    (name,) = re.findall(r"^# python tools/train.py .*backbone=(\w+)$", yaml, re.MULTILINE)
    return folder_with(yaml, name, tmp_path), f"backbone={name}"


@pytest.fixture
def patches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """Options that choose the backbone that README's Python defines, by a YAML of its own."""
    monkeypatch.setattr(BACKBONES, "_parts", dict(BACKBONES._parts))
    definition, _ = block("python").split("\ncfg = ")
    exec(compile(definition, str(README), "exec"), {"__name__": "patches"})
    yield folder_with(OWN, "patches", tmp_path), "backbone=patches"
    ConfigStore.instance().repo["schema"]["backbone"].pop("patches.yaml")


def boxes(detector: torch.nn.Module) -> torch.Tensor:
    """What it finds in a picture of an odd size."""
    images = ImageBatch(torch.zeros(1, 3, 65, 97), torch.zeros(1, 65, 97, dtype=torch.bool))
    return detector.eval()(images).prediction.boxes


def test_one_yaml_is_a_new_backbone(mobilenet: tuple[str, str]) -> None:
    cfg = detbox.compose(*mobilenet, "backbone.pretrained=false", "model=dino", *SMALL)
    detector = detbox.build_detector(cfg, num_classes=4)
    assert detector.backbone.strides == (8, 16, 32)
    assert boxes(detector).shape == (1, 8, 4)


def test_a_class_and_its_yaml_are_a_new_backbone(patches: tuple[str, str]) -> None:
    cfg = detbox.compose(*patches, "model=dino", "neck.num_levels=3", *SMALL)
    detector = detbox.build_detector(cfg, num_classes=4)
    assert detector.backbone.channels == (24, 48)
    assert detector.backbone.strides == (16, 32)
    assert boxes(detector).shape == (1, 8, 4)


def test_a_model_that_asks_for_maps_says_that_it_cannot_choose_them(
    patches: tuple[str, str],
) -> None:
    with pytest.raises(HydraException) as caught:
        detbox.compose(*patches, "model=detr")
    told = explain(caught.value, [*patches, "model=detr"], "train")
    assert told.startswith("backbone/maps/last sets backbone.strides, which the chosen backbone")
    assert told.endswith("choose another backbone, or give its builder a setting 'strides'")


@pytest.mark.parametrize(
    ("backbone", "key"), [("mobilenet", "frozen_norms=true"), ("patches", "widths=24")]
)
def test_its_keys_are_checked_as_those_of_any_other(
    backbone: str, key: str, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(HydraException, match=rf"backbone\.{key.partition('=')[0]}"):
        detbox.compose(*request.getfixturevalue(backbone), f"backbone.{key}")
