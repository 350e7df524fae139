"""Weights come from a file, the cache or the hub, or a sentence says what to do."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from detbox.backbones import BackboneModule, hub
from detbox.backbones.timm import TimmBackbone
from detbox.backbones.weights import WeightsUnavailableError, load_pretrained
from detbox.registry import BACKBONES

LITE0 = Path(__file__).parents[2].parent / "shared/weights/timm_tf_efficientnet_lite0.pth"


def build(**settings: object) -> TimmBackbone:
    return BACKBONES.build({"name": "timm", "model": "resnet10t", **settings})


@pytest.fixture(scope="module")
def classifier() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return timm.create_model("resnet10t").state_dict()


@pytest.fixture
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *names, revision: None)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, empty_cache: None) -> None:
    class Unplugged:
        def head(self, url: str, timeout: float) -> None:
            raise ConnectionError(url)

    monkeypatch.setattr(hub, "get_session", Unplugged)


@pytest.mark.skipif(
    not LITE0.is_file(), reason="needs the EfficientNet-Lite0 weights beside the repository"
)
def test_a_whole_classifier_fills_the_backbone_and_the_head_is_named() -> None:
    backbone = build(model="tf_efficientnet_lite0", weights=str(LITE0), frozen_norm=True)
    line = load_pretrained(backbone, required=True)
    assert "240 of 240 tensors" in line
    assert "left over (bn2.bias" in line
    stored = torch.load(LITE0, weights_only=True)
    assert torch.equal(backbone.get_parameter("body.conv_stem.weight"), stored["conv_stem.weight"])


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("frozen_norm", [True, False])
def test_files_of_either_kind_load_and_say_what_was_left(
    suffix: str, frozen_norm: bool, tmp_path: Path, classifier: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save({"state_dict": classifier}, path)
    else:
        save_file(classifier, path)
    backbone = build(weights=str(path), frozen_norm=frozen_norm, out_norm=True)
    line = load_pretrained(backbone, required=True)
    assert "2 left over (fc.bias, fc.weight)" in line
    assert "missing (norms.2.bias" in line
    for name, value in backbone.body.state_dict().items():
        assert torch.equal(value, classifier[name])


def test_a_saved_backbone_loads_again(tmp_path: Path) -> None:
    saved = build(out_norm=True)
    torch.save(saved.state_dict(), tmp_path / "own.pt")
    backbone = build(out_norm=True, weights=str(tmp_path / "own.pt"))
    assert "not" not in load_pretrained(backbone, required=True)
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, saved.state_dict()[name])


def test_a_file_of_another_model_is_refused_and_changes_nothing(
    tmp_path: Path, classifier: dict[str, torch.Tensor]
) -> None:
    torch.save(classifier, tmp_path / "other.pth")
    backbone = build(model="resnet18", weights=str(tmp_path / "other.pth"))
    before = backbone.body.conv1.weight.clone()
    with pytest.raises(ValueError, match=r"another model than resnet18.*backbone\.model"):
        load_pretrained(backbone, required=True)
    assert torch.equal(backbone.get_parameter("body.conv1.weight"), before)


@pytest.mark.parametrize("prefix", ["module.", "backbone.0.body.", "detector.backbone.body."])
def test_names_below_a_prefix_are_found(
    prefix: str, tmp_path: Path, classifier: dict[str, torch.Tensor]
) -> None:
    stored = {prefix + name: each for name, each in classifier.items()} | {"head": torch.zeros(1)}
    torch.save({"model": stored}, tmp_path / "a.pth")
    backbone = build(weights=str(tmp_path / "a.pth"))
    line = load_pretrained(backbone, required=True)
    assert f"below {prefix!r}" in line
    assert " missing (" not in line
    assert torch.equal(backbone.body.conv1[0].weight, classifier["conv1.0.weight"])


def test_a_trainings_command_line_and_figures_do_not_keep_its_weights_back(
    tmp_path: Path, classifier: dict[str, torch.Tensor]
) -> None:
    arguments = argparse.Namespace(lr=1e-3, output_dir=Path("runs"))
    figures = {"acc": np.float64(81.2), "epoch": np.int64(299)}
    torch.save({"model": classifier, "args": arguments, **figures}, tmp_path / "a.pth")
    backbone = build(weights=str(tmp_path / "a.pth"))
    assert " missing (" not in load_pretrained(backbone, required=True)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"model": Caller()}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="nothing was executed"):
        load_pretrained(build(weights=str(tmp_path / "bad.pth")), required=True)
    assert not (tmp_path / "ran").exists()


class Caller:
    """An object whose pickle calls a function."""

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (Path("ran"),)


def swin_v2(name: str) -> str:
    """Microsoft merges patches at the end of a stage."""
    if match := re.match(r"layers\.(\d)\.downsample", name):
        return name.replace(match[0], f"layers.{int(match[1]) - 1}.downsample")
    return name.replace("head.fc", "head")


def convnext_v2(name: str) -> str:
    """Meta's ConvNeXt."""
    name = re.sub(r"^stem\.(\d)", r"downsample_layers.0.\1", name)
    name = re.sub(r"^stages\.(\d)\.downsample", r"downsample_layers.\1", name)
    name = re.sub(r"^(stages\.\d)\.blocks", r"\1", name)
    name = name.replace("conv_dw", "dwconv").replace("head.norm", "norm").replace("head.fc", "head")
    name = re.sub(r"mlp\.fc(\d)", r"pwconv\1", name)
    return name.replace("mlp.grn.weight", "grn.gamma").replace("mlp.grn.bias", "grn.beta")


@pytest.mark.parametrize(
    ("model", "released"),
    [("swinv2_tiny_window8_256", swin_v2), ("convnextv2_atto", convnext_v2)],
)
def test_releases_that_only_timm_knows_are_read_by_timm(
    model: str, released: Callable[[str], str], tmp_path: Path
) -> None:
    theirs = timm.create_model(model).state_dict()
    stored = {released(name): each.clone() for name, each in theirs.items()}
    for name, each in stored.items():
        if ".grn." in name:
            stored[name] = each.reshape(1, 1, 1, -1)
    stored = {f"module.{name}": each for name, each in stored.items()}
    torch.save({"model": stored}, tmp_path / "a.pth")
    backbone = build(model=model, weights=str(tmp_path / "a.pth"))
    line = load_pretrained(backbone, required=True)
    assert "as timm reads it" in line
    assert " missing (" not in line
    for name, value in backbone.state_dict().items():
        whole = re.sub(r"^body\.([a-z]+)_(\d)\.", r"\1.\2.", name).removeprefix("body.")
        assert torch.equal(value, theirs[whole]), name


def test_unreadable_and_absent_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("not tensors")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    for name, error in [
        ("text.pth", ValueError),
        ("empty.pth", ValueError),
        ("absent.pth", FileNotFoundError),
    ]:
        with pytest.raises(error, match=name):
            load_pretrained(build(weights=str(tmp_path / name)), required=True)


@pytest.mark.usefixtures("offline")
def test_without_network_required_weights_stop_with_the_way_out() -> None:
    ways_out = r"backbone\.weights=FILE.*go online.*backbone\.pretrained=false"
    with pytest.raises(WeightsUnavailableError, match=ways_out):
        load_pretrained(build(), required=True)
    with pytest.raises(WeightsUnavailableError, match="needs pretrained weights"):
        load_pretrained(build(pretrained="true"), required=False)


@pytest.mark.usefixtures("offline")
def test_without_network_optional_weights_warn_once_and_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backbone = build(frozen_norm=True)
    before = backbone.body.conv1[0].weight.clone()
    line = load_pretrained(backbone, required=False)
    assert [record.getMessage() for record in caplog.records] == [line]
    assert "random weights" in line
    assert "frozen_norm=false" in line
    assert torch.equal(backbone.body.conv1[0].weight, before)


@pytest.mark.usefixtures("empty_cache")
def test_a_network_that_swallows_everything_costs_about_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Swamp:
        def head(self, url: str, timeout: float) -> None:
            time.sleep(3)

    monkeypatch.setattr(hub, "get_session", Swamp)
    backbone, start = build(), time.perf_counter()
    with pytest.raises(WeightsUnavailableError, match="out of reach"):
        load_pretrained(backbone, required=True)
    assert time.perf_counter() - start < 1.5


@pytest.mark.usefixtures("empty_cache")
def test_the_hub_is_not_asked_when_told_to_stay_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delattr(hub, "get_session")
    with pytest.raises(WeightsUnavailableError, match="HF_HUB_OFFLINE"):
        load_pretrained(build(), required=True)


@pytest.mark.usefixtures("offline")
def test_the_cache_is_used_without_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, classifier: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / "model.safetensors"
    save_file(classifier, path)
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *names, revision: str(path))
    backbone = build(frozen_norm=True, frozen_stages=1)
    assert str(path) in load_pretrained(backbone, required=True)
    for name, value in backbone.body.state_dict().items():
        assert torch.equal(value, classifier[name])


def test_pretrained_false_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(hub, "try_to_load_from_cache")
    monkeypatch.delattr(hub, "get_session")
    line = load_pretrained(build(pretrained="false"), required=True)
    assert "backbone.pretrained=false" in line


def test_a_plain_module_keeps_its_builders_weights_unless_it_is_given_a_file(
    tmp_path: Path,
) -> None:
    plain, other = torch.nn.Conv2d(3, 4, 2), torch.nn.Conv2d(3, 4, 2)
    before = plain.weight.detach().clone()
    assert load_pretrained(plain, required=True) == "backbone Conv2d: weights from its builder"
    assert torch.equal(plain.weight, before)
    torch.save({f"backbone.{n}": v for n, v in other.state_dict().items()}, tmp_path / "a.pth")
    line = load_pretrained(plain, required=True, weights=str(tmp_path / "a.pth"))
    assert "Conv2d: 2 of 2 tensors" in line
    assert torch.equal(plain.weight, other.weight)
    with pytest.raises(ValueError, match="of another model than Linear"):
        load_pretrained(torch.nn.Linear(3, 4), required=True, weights=str(tmp_path / "a.pth"))


def test_a_kind_of_its_own_inherits_the_answers() -> None:
    class Own(BackboneModule):
        model = "own"

    with pytest.raises(WeightsUnavailableError, match=r"own needs .*no hub"):
        load_pretrained(Own(), required=True)
    assert "random weights" in load_pretrained(Own(), required=False)
