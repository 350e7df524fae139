"""Official checkpoints: every name and shape of the full models, and a round trip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from detbox.models.detector import Detector
from detbox.official.layouts import CONSTANT, detect, official_names
from detbox.official.state import load_official, save_official
from parity.full_size import full_detector, tiny_detector
from parity.recipe import official_settings
from parity.report import Report
from parity.variants import published


class Listed(NamedTuple):
    """The entries of a list of names."""

    shapes: dict[str, tuple[int, ...]]
    shared: dict[str, str]
    """name -> another name of the same tensor"""
    counts: dict[str, int]
    """parameters: all and trainable; empty where the list does not say"""


@pytest.mark.parametrize(
    "backbone", ["resnet18", "swin_t", "convnext_t", "mpvit_tiny", "coat_tiny", "bit_r50"]
)
def test_official_names_survive_a_round_trip(backbone: str) -> None:
    source, target = tiny_detector(backbone), tiny_detector(backbone)
    load_official(target, save_official(source))
    for name, tensor in source.state_dict().items():
        assert torch.equal(tensor, target.state_dict()[name]), name


def test_every_listed_name_is_ours(names_file: Path, report: Report) -> None:
    listed = _read(names_file)
    with torch.device("meta"):
        detector = _full_detector(names_file.stem)
    constant = [name for name in listed.shapes if CONSTANT.search(name)]
    saved = {name: tuple(tensor.shape) for name, tensor in save_official(detector).items()}
    assert saved == listed.shapes
    report.count(saved)
    together = [set(aliases) for aliases in official_names(detector).values()]
    for name, other in listed.shared.items():
        assert any({name, other} <= aliases for aliases in together), f"{name} is not {other}"
    unused = sum(torch.Size(listed.shapes[name]).numel() for name in constant if "norm" in name)
    for part, count in listed.counts.items():
        ours = (p.numel() for p in detector.parameters() if part == "all" or p.requires_grad)
        assert sum(ours) == count - unused


def test_every_listed_tensor_comes_back_bit_equal(names_file: Path) -> None:
    listed = _read(names_file)
    with torch.device("meta"):
        detector = _full_detector(names_file.stem)
    detector.to_empty(device="cpu")
    stored = {
        name: torch.tensor(float(number)).expand(listed.shapes[name])
        for number, name in enumerate(listed.shapes)
    }
    stored |= {name: stored[other] for name, other in listed.shared.items()}
    assert load_official(detector, stored).layout == detect(stored)
    for name, tensor in save_official(detector).items():
        assert CONSTANT.search(name) or torch.equal(tensor, stored[name]), name


def test_parameters_and_frozen_ones_are_those_of_the_official_optimizer(groups_file: Path) -> None:
    groups = json.loads(groups_file.read_text())
    with torch.device("meta"):
        detector = published(groups_file.name.partition(".")[0])
    names = official_names(detector)
    own = {names[name][0]: p.requires_grad for name, p in detector.named_parameters()}
    first = {alias: aliases[0] for aliases in names.values() for alias in aliases}
    assert {first[name] for name in groups} == set(own)
    assert all(own[first[name]] == (group != "frozen") for name, group in groups.items())


def _full_detector(stem: str) -> Detector:
    if "dino" in stem.lower():
        return full_detector(official_settings(stem))
    return published(stem)


def _read(path: Path) -> Listed:
    content = json.loads(path.read_text())
    return _own_layout(content) if isinstance(content, list) else _columns(content)


def _own_layout(rows: list[dict[str, Any]]) -> Listed:
    shapes = {row["name"]: tuple(row["shape"]) for row in rows}
    shared = {row["name"]: row["canonical"] for row in rows if row["canonical"] != row["name"]}
    return Listed(shapes, shared, {})


def _columns(content: dict[str, Any]) -> Listed:
    return Listed(
        {name: tuple(shape) for name, shape, *_ in content["state_dict"]},
        content["aliases_of_same_tensor"],
        {"all": content["n_params_unique"], "trainable": content["n_params_trainable"]},
    )
