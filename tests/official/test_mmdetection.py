"""Checkpoints of mmdetection 3.x: strict both ways, and a start that knows what they knew."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmdetection_names import MODELS, QUERIES, Shapes, resnet18
from small_detector import SMALL
from torch import Tensor

import detbox
from detbox.build import build_module
from detbox.conversion import start_from
from detbox.models.detector import Detector
from detbox.official.classes import COCO, official_label_space
from detbox.official.files import read_official
from detbox.official.layouts import detect
from detbox.official.state import load_official, save_official
from detbox.structures import ImageBatch, LabelSpace

KINDS = ("detr", "conditional_detr", "deformable_detr_two_stage", "dino")
"""that choose and classify their queries in other ways"""


def made_up(shapes: Shapes, shared: bool) -> dict[str, Tensor]:
    """Random tensors; branches of all layers are one where they are shared."""
    torch.manual_seed(0)
    found = {name: torch.randn(shape) * 0.1 for name, shape in shapes.items()}
    for name in found:
        if name.endswith("num_batches_tracked"):
            found[name] = torch.tensor(3)
        elif "running_var" in name:
            found[name] = found[name].abs() + 0.5
        elif shared and "branches.1." in name:
            found[name] = found[name.replace("branches.1.", "branches.0.")]
    return found


def file_of(layout: str) -> dict[str, Tensor]:
    """A state dict of that layout."""
    names, _ = MODELS[layout]
    return made_up({**resnet18(), **names()}, shared=layout == "deformable_detr_mmdet")


def settings_of(layout: str) -> tuple[str, ...]:
    return (*SMALL, f"model.num_queries={QUERIES}", *MODELS[layout][1])


def built(layout: str, num_classes: int = 80) -> Detector:
    return detbox.build_detector(detbox.compose(*settings_of(layout)), num_classes)


@pytest.mark.parametrize("layout", MODELS)
def test_every_tensor_of_either_side_is_used(layout: str) -> None:
    stored, target = file_of(layout), built(layout)
    kind = layout.partition(",")[0]
    report = load_official(target, stored)
    assert report.layout == kind
    assert report.filled == len([n for n in target.state_dict() if "num_batches" not in n])
    back = save_official(target, kind)
    learnt = {name: each for name, each in stored.items() if "num_batches_tracked" not in name}
    assert back.keys() == learnt.keys()
    assert all(torch.equal(back[name], learnt[name]) for name in learnt)
    if kind != "deformable_detr_mmdet":  # has the names of the refined one
        assert detect(stored) in (kind, "deformable_detr_mmdet")
    missing = next(name for name in stored if name.startswith("decoder."))
    with pytest.raises(ValueError, match=f"1 missing .{missing}"):
        load_official(target, {n: t for n, t in stored.items() if n != missing})
    with pytest.raises(ValueError, match=r"1 left over .decoder\.more"):
        load_official(target, {**stored, "decoder.more": torch.zeros(1)})


def test_a_bias_of_the_neck_is_zero_where_the_file_has_none_and_kept_where_it_has() -> None:
    stored, target = file_of("dino_mmdet"), built("dino_mmdet")
    bias = target.state_dict()["neck.projections.0.0.bias"].fill_(1)
    load_official(target, stored)
    assert not bias.any()
    biases = {f"neck.convs.{i}.conv.bias": torch.ones(32) for i in range(3)}
    load_official(target, {**stored, **biases, "neck.extra_convs.0.conv.bias": torch.ones(32)})
    assert bias.all()
    assert "neck.convs.0.conv.bias" in save_official(target, "dino_mmdet")


@pytest.mark.parametrize("kind", KINDS)
def test_classes_of_one_name_start_with_the_same_logits(kind: str, tmp_path: Path) -> None:
    """COCO's classes in reverse, as proposals are chosen by the largest logit of all classes."""
    layout = f"{kind}_mmdet"
    stored, reference = file_of(layout), built(layout)
    load_official(reference, stored)
    torch.save({"meta": {"epoch": 12}, "state_dict": stored}, tmp_path / "epoch_12.pth")
    names = tuple(name for _, name in reversed(COCO))
    more = () if "proposals" in str(reference.query_source) else ("zebra fish",)
    space = LabelSpace((*names, *more), tuple(range(len(names) + len(more))))
    cfg = detbox.compose(*settings_of(layout), "data=coco")
    module = build_module(cfg, space)
    table = start_from(module, tmp_path / "epoch_12.pth", cfg)
    assert "80" in table.columns[1]._cells
    images = ImageBatch(torch.rand(1, 3, 64, 96), torch.zeros(1, 64, 96, dtype=torch.bool))
    known = official_label_space(80)
    with torch.no_grad():
        ours, theirs = (each.eval()(images).prediction for each in (module.detector, reference))
    labels = [known.names.index(name) for name in names]
    assert torch.equal(ours.boxes, theirs.boxes)
    torch.testing.assert_close(ours.logits[..., :80], theirs.logits[..., labels], rtol=0, atol=0)


class HistoryBuffer:
    """As mmengine keeps the figures of a training beside the tensors."""

    def __init__(self) -> None:
        self._log_history = torch.ones(3).numpy()


def test_the_figures_in_a_file_of_a_training_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = ModuleType("mmengine.logging.history_buffer")
    monkeypatch.setattr(HistoryBuffer, "__module__", package.__name__)
    package.HistoryBuffer = HistoryBuffer  # type: ignore[attr-defined]
    with monkeypatch.context() as installed:
        for name in ("mmengine", "mmengine.logging", package.__name__):
            installed.setitem(sys.modules, name, package)
        hub = {"log_scalars": {"train/loss": HistoryBuffer()}}
        content = {"state_dict": {"a": torch.ones(2)}, "message_hub": hub}
        torch.save(content, tmp_path / "epoch_1.pth")
    assert read_official(tmp_path / "epoch_1.pth").keys() == {"a"}
