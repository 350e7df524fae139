"""Official checkpoints: found by their names, strict, reported on, never executed."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from small_detector import SMALL
from torch import Tensor

import detbox
from detbox.models.detector import Detector
from detbox.official import layouts
from detbox.official.files import read_official
from detbox.official.layouts import detect, layouts_of, official_names
from detbox.official.registry import LAYOUTS, Layout, register_layout
from detbox.official.state import load_official, save_official
from detbox.pickles import read_safely
from detbox.transplant import class_tensors

MODELS = sorted(file.stem for file in (Path(__file__).parents[2] / "conf/model").glob("*.yaml"))
CONDITIONAL = ("model=conditional_detr",)
DETREX = {
    "dino_detrex": ("model=dino_detrex",),
    "dino_detrex_5scale": (
        "model=dino_detrex",
        "neck.num_levels=5",
        "backbone.strides=[4,8,16,32]",
    ),
    "stable_dino": ("model=stable_dino",),
}


def small(*overrides: str, num_classes: int = 3) -> Detector:
    """A detector of few layers on random weights."""
    return detbox.build_detector(detbox.compose(*SMALL, *overrides), num_classes)


@pytest.fixture(scope="module")
def dino() -> Detector:
    return small("model=dino")


@pytest.fixture
def official(dino: Detector) -> dict[str, Tensor]:
    return save_official(dino)


def test_a_file_is_known_by_its_names(official: dict[str, Tensor]) -> None:
    assert detect(official) == "dino"
    assert detect({"conv1.weight": 0, "layer1.0.conv1.weight": 0, "fc.weight": 0}) is None


def test_every_tensor_is_accounted_for_or_refused(
    dino: Detector, official: dict[str, Tensor]
) -> None:
    lacking = {name: each for name, each in official.items() if name != "label_enc.weight"}
    with pytest.raises(
        ValueError, match=r"layout dino: 1 missing \(label_enc\.weight\); build the"
    ):
        load_official(dino, lacking)
    with pytest.raises(ValueError, match=r"1 left over \(extra\)"):
        load_official(dino, {**official, "extra": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"label_enc\.weight \(3, 32\), expected \(4, 32\)"):
        load_official(dino, {**official, "label_enc.weight": torch.zeros(3, 32)})


def test_a_shared_tensor_that_is_not_shared_is_refused(
    dino: Detector, official: dict[str, Tensor]
) -> None:
    official["class_embed.1.bias"] = official["class_embed.1.bias"] + 1
    with pytest.raises(ValueError, match=r"class_embed\.1\.bias differs from class_embed\.0\.bias"):
        load_official(dino, official)


def test_without_strict_the_rest_is_filled_and_reported(official: dict[str, Tensor]) -> None:
    target = small("model=dino")
    before = {name: each.clone() for name, each in target.state_dict().items()}
    reshaped = {"transformer.tgt_embed.weight": torch.zeros(7, 32), "extra": torch.zeros(1)}
    absent = {name: each for name, each in official.items() if name != "label_enc.weight"}
    report = load_official(target, {**absent, **reshaped}, strict=False)
    assert report.misfit.missing == ("label_enc.weight",)
    assert report.misfit.left == ("extra",)
    assert "tgt_embed.weight (7, 32), expected" in report.misfit.unlike[0]
    after = target.state_dict()
    assert report.filled == len(after) - 2
    for name in ("denoiser.label_table.weight", "query_source.content.weight"):
        assert torch.equal(after[name], before[name])
    assert torch.equal(after["encoder.level_embed"], official["transformer.level_embed"])
    assert "1 missing (label_enc.weight), 1 left over (extra), 1 unlike (" in str(report)


@pytest.mark.parametrize("layout", DETREX)
@pytest.mark.parametrize("backbone", ["resnet50", "swin_t", "convnext_t"])
def test_detrex_names_survive_a_round_trip(layout: str, backbone: str) -> None:
    options = (f"backbone={backbone}", *DETREX[layout])
    source, target = small(*options), small(*options)
    assert layouts_of(source)[0] == layout
    written = save_official(source)
    assert len(written["label_enc.weight"]) == 3  # detrex has no row for "no class"
    assert load_official(target, written).layout == layout
    again = save_official(target)
    assert written.keys() == again.keys()
    assert all(torch.equal(written[name], again[name]) for name in written)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_a_layout_of_its_own_and_survives_it(model: str) -> None:
    source, target = small(f"model={model}"), small(f"model={model}")
    written = save_official(source)
    assert detect(written) == layouts_of(source)[0]
    load_official(target, written)
    again = save_official(target)
    assert written.keys() == again.keys()
    assert all(torch.equal(written[name], again[name]) for name in written)
    lost = [name for name in target.state_dict() if _differ(source, target, name)]
    assert lost in ([], ["denoiser.label_table.weight"])  # its last row, where the layout has none


@pytest.mark.parametrize("model", MODELS)
def test_rows_by_class_are_those_of_class_heads_and_label_tables(model: str) -> None:
    found = class_tensors(lambda count: small(f"model={model}", num_classes=count), 3)
    with torch.device("meta"):
        names = official_names(small(f"model={model}"))
    expected = {ours for ours, each in names.items() if re.search("class_embed|label_enc", each[0])}
    assert set(found) == expected


def _differ(source: Detector, target: Detector, name: str) -> bool:
    return not torch.equal(source.state_dict()[name], target.state_dict()[name])


def test_the_norm_of_the_finest_map_is_learnt_where_the_map_is_used() -> None:
    fine = small("model=dino", "backbone=swin_t", "backbone.strides=[4,8,16,32]")
    assert "backbone.0.norm0.weight" in save_official(fine)
    assert "backbone.0.norm0.weight" not in save_official(small("backbone=swin_t"))


def test_detrex_names_are_those_of_its_code() -> None:
    names = set(save_official(small("model=dino_detrex", "backbone=resnet50")))
    assert names >= {
        "backbone.stem.conv1.norm.running_var",
        "backbone.res2.0.shortcut.norm.weight",
        "backbone.res5.2.conv3.weight",
        "neck.convs.2.conv.weight",
        "neck.extra_convs.0.norm.bias",
        "transformer.level_embeds",
        "transformer.encoder.layers.0.attentions.0.sampling_offsets.weight",
        "transformer.encoder.layers.0.ffns.0.layers.0.0.weight",
        "transformer.encoder.layers.0.ffns.0.layers.1.bias",
        "transformer.decoder.layers.1.attentions.0.attn.in_proj_weight",
        "transformer.decoder.layers.1.attentions.1.value_proj.bias",
        "transformer.decoder.layers.1.norms.2.weight",
        "transformer.decoder.ref_point_head.layers.1.weight",
        "transformer.decoder.bbox_embed.2.layers.2.weight",
        "class_embed.2.bias",
    }


def test_another_model_and_another_kind_of_file_are_told_apart(dino: Detector) -> None:
    other = save_official(small("model=dino_detrex"))
    with pytest.raises(ValueError, match="by its names it is dino_detrex, the detector is dino"):
        load_official(dino, other)
    classifier = {"conv1.weight": torch.zeros(1), "fc.weight": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"of none of .*dino.*backbone\.weights=FILE"):
        load_official(dino, classifier)


def test_a_detector_without_a_layout_says_which_names_are_missing() -> None:
    detector = small("model=dino")
    detector.add_module("extra", torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"'dino', lacks extra\.weight, extra\.bias; register its"):
        save_official(detector)


def test_every_layout_has_a_name_of_its_own() -> None:
    tables = [layout.rules for layout in LAYOUTS.values()]
    assert len(set(tables)) == len(tables)
    with pytest.raises(KeyError, match="layout 'dino' is registered already"):
        register_layout("dino", LAYOUTS["detr"])


@pytest.mark.parametrize("backwards", [False, True])
def test_the_order_of_registration_decides_nothing(
    monkeypatch: pytest.MonkeyPatch, backwards: bool
) -> None:
    ordered = {name: LAYOUTS[name] for name in sorted(LAYOUTS, reverse=backwards)}
    monkeypatch.setattr(layouts, "LAYOUTS", ordered)
    with torch.device("meta"):
        detector, larger = (small(*each) for each in (CONDITIONAL, DETREX["dino_detrex_5scale"]))
    fitting = ["conditional_detr_detrex", "conditional_detr", "conditional_detr_mmdet"]
    assert layouts_of(detector) == fitting
    keys = [name for each in official_names(larger).values() for name in each]
    assert detect(keys) == "dino_detrex"  # templates explain the names of five scales as well


def test_a_layout_of_higher_rank_is_written_only_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LAYOUTS, "any", Layout(((r"", ("their.",)),), rank=1))
    detector = small("model=detr")
    assert layouts_of(detector) == ["detr", "any", "detr_mmdet"]
    written = save_official(detector, "any")
    assert all(name.startswith(("their.", "backbone.0.")) for name in written)
    assert load_official(detector, written).layout == "any"


def test_the_command_line_that_official_files_hold_is_read(tmp_path: Path) -> None:
    arguments = argparse.Namespace(lr=1e-4, masks=False, output_dir="x", milestones=[40])
    content = {"model": {"a": torch.ones(2)}, "args": arguments, "epoch": 3, "optimizer": {}}
    torch.save(content, tmp_path / "official.pth")
    assert read_official(tmp_path / "official.pth").keys() == {"a"}


class Hostile:
    """Unpickling it as pickle does would run a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_file_is_refused_in_one_sentence(tmp_path: Path, zipped: bool) -> None:
    proof, file = tmp_path / "executed", tmp_path / "model.pth"
    content = {"model": {"a": torch.ones(1)}, "args": Hostile(f"touch {proof}")}
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        ValueError, match=r"asks for \w+\.system, .* nothing was executed"
    ) as caught:
        read_official(file)
    assert len(str(caught.value).splitlines()) == 1
    assert not proof.exists()
    with pytest.raises(ValueError, match="nothing was executed"):
        detbox.load(file)
    torch.load(file, weights_only=False)
    assert proof.exists()  # the file is what it claims to be


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ({"epoch": 3, "lr": 0.1}, "got epoch, lr"),
        ([torch.ones(1)], "got list"),
        ({"model": {}}, "got model"),
    ],
)
def test_a_file_without_a_detector_is_refused(tmp_path: Path, content: Any, got: str) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=f"expected tensors by name.*{got}"):
        read_official(tmp_path / "a.pth")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x02garbage"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(ValueError, match="is no file of tensors") as caught:
        read_safely(tmp_path / "a.pth")
    assert len(str(caught.value).splitlines()) == 1


def test_own_checkpoints_are_not_taken_for_official_ones(tmp_path: Path) -> None:
    torch.save({"detbox": {}, "state_dict": {"a": torch.ones(1)}}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"is a checkpoint of detbox; .*to=official"):
        read_official(tmp_path / "a.ckpt")
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        read_official(tmp_path / "none.pth")
