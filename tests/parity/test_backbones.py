"""Backbones compute what the authors' do, from files with the authors' names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from detbox.backbones.files import load_file
from parity.backbone_cases import Family, Listed, build, family_of, read
from parity.full_size import tensors_of
from parity.report import Report
from parity.rule_weights import load_rule
from parity.tolerances import Rule, Tolerance

TOLERANCE = (Rule(r"", Tolerance("deviation", 1e-3)),)
CHANNELS_OF_STEM = 16
"""that the recording of BiT keeps"""


def test_official_weights_give_the_official_maps(
    backbone_file: Path, report: Report, tmp_path: Path
) -> None:
    stem = backbone_file.stem.removeprefix("backbone_")
    family, listed = family_of(stem), read(backbone_file.parent / "names" / f"{stem}.json")
    backbone = build(family, listed).eval()
    stored = np.load(backbone_file)
    salt = json.loads(str(stored["meta_json"])).get("salt", "")
    line = load_file(backbone, _weights(listed, backbone_file.parent, salt, tmp_path))
    assert " missing (" not in line
    recorded = tensors_of(stored)
    report.inputs.append("in/image")
    report.compare(recorded, _maps(backbone, family, recorded["in/image"]), TOLERANCE)
    report.verify()


def test_official_names_and_shapes_are_those_of_the_list(
    backbone_names_file: Path, report: Report
) -> None:
    family, listed = family_of(backbone_names_file.stem), read(backbone_names_file)
    with torch.device("meta"):
        backbone = build(family, listed)
    own = backbone.state_dict()
    ours = {
        other.removeprefix(family.prefix): tuple(own[name].shape)
        for name, others in backbone.official_names().items()
        for other in others
    }
    wanted = {each.name: each.shape for each in listed if not _unread(each, family)}
    counts = "num_batches_tracked"  # batch norm that trains has them, frozen has not
    assert _without(ours, counts) == _without(wanted, counts)
    report.count(wanted)


def test_tensors_that_the_authors_share_are_held_once(backbone_names_file: Path) -> None:
    family, listed = family_of(backbone_names_file.stem), read(backbone_names_file)
    with torch.device("meta"):
        names = build(family, listed).official_names()
    shared: dict[str, set[str]] = {}
    for each in listed:
        shared.setdefault(each.rule_name, set()).add(each.name)
    ours = [{other.removeprefix(family.prefix) for other in others} for others in names.values()]
    assert [group for group in shared.values() if len(group) > 1 and group not in ours] == []


def _unread(each: Listed, family: Family) -> bool:
    return re.search(family.without, each.name) is not None


def _without(shapes: dict[str, tuple[int, ...]], ending: str) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape in shapes.items() if not name.endswith(ending)}


def _weights(listed: Sequence[Listed], folder: Path, salt: str, tmp_path: Path) -> Path:
    """A weights file as the authors would publish it, with values by rule."""
    value = load_rule(folder).value
    arrays = {
        each.name: value(each.rule_name, each.shape, salt) for each in listed if each.floating
    }
    if any("/" in name for name in arrays):
        kernels = {n: a.transpose(2, 3, 1, 0) if a.ndim == 4 else a for n, a in arrays.items()}
        np.savez(tmp_path / "official.npz", **kernels)
        return tmp_path / "official.npz"
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    torch.save({"model": tensors}, tmp_path / "official.pth")
    return tmp_path / "official.pth"


def _maps(backbone: nn.Module, family: Family, pixels: Tensor) -> dict[str, Tensor]:
    named: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            named[name] = output

        return hook

    for name, module in family.inner.items():
        backbone.get_submodule(module).register_forward_hook(keep(name))
    with torch.no_grad():
        named |= dict(zip(family.maps, backbone(pixels), strict=True))
    if "out/stem" in named:
        named["out/stem"] = named["out/stem"][:, :CHANNELS_OF_STEM]
    return named
