"""Adapters beside frozen layers: what they change, what learns, and what files hold."""

from __future__ import annotations

import sys
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
import torch
from tiny import MODEL, TINY
from torch import Tensor
from training_toys import SPACE

import detbox
from detbox.build import build_module
from detbox.commands.changes import check_resumable
from detbox.commands.train import train
from detbox.engine.adapter import ADAPTER, Adapter, beside, joined
from detbox.engine.last import LastCheckpoint
from detbox.engine.module import DetectionModule
from detbox.errors import CheckpointError, MachineError, SettingError
from detbox.registry import ADAPTERS
from detbox.runfile import RunCheckpoint
from detbox.structures import ImageBatch, Outputs

RUN = ("trainer.max_epochs=2", "optimizer.lr=1e-2", "callbacks=ema", "adapter=lora")
OFTEN = "callbacks.checkpoints.every_n_steps=4"
LEARN = ("lora_", "norm", "class_head", "box_head", "label_table")
MODELS = {
    "dino": MODEL,
    **{
        model: [each for each in MODEL if "levels" not in each and "denoising" not in each]
        for model in ("detr", "conditional_detr")
    },
}

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers:UserWarning",
    "ignore:.*LeafSpec:FutureWarning",
)


def built(model: str = "dino", *options: str) -> DetectionModule:
    torch.manual_seed(0)
    return build_module(detbox.compose(*MODELS[model], f"model={model}", *options), SPACE)


def adapt(module: DetectionModule, *options: str) -> DetectionModule:
    cfg = detbox.compose("adapter=lora", *options)
    module.adapt(ADAPTERS.build(cfg.adapter, module.detector))
    return module


def outputs(module: DetectionModule) -> Outputs:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    predicted: Outputs = module.detector(ImageBatch(images, torch.zeros(2, 64, 64).bool()))
    return predicted


def predicted(module: DetectionModule) -> list[Tensor]:
    with torch.no_grad():
        prediction = outputs(module.eval()).prediction
    return [prediction.logits, prediction.boxes]


def descend(module: DetectionModule) -> None:
    learnt = [each for each in module.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        found = outputs(module.train())
        sets = (found.prediction, *found.auxiliary)
        terms = [each.logits.square().mean() + each.boxes.mean() for each in sets]
        torch.stack(terms).sum().backward()
        optimizer.step()


@pytest.mark.parametrize("model", sorted(MODELS))
def test_adapters_start_as_nothing_and_merge_into_what_they_learnt(model: str) -> None:
    pytest.importorskip("peft")
    plain, module = built(model), adapt(built(model))
    start = predicted(plain)
    assert all(map(torch.equal, predicted(module), start))
    before = {name: each.clone() for name, each in module.detector.state_dict().items()}
    descend(module)
    adapters = [each for name, each in module.named_parameters() if "lora_" in name]
    assert adapters
    assert all(each.grad is not None for each in adapters)  # as processes in step need it
    after = module.detector.state_dict()
    moved = {name for name, each in after.items() if not each.equal(before[name])}
    assert any(name.startswith("encoder.") and "lora_B" in name for name in moved)
    assert all(any(part in name for part in LEARN) for name in moved)
    plain.detector.load_state_dict(module.detector_state())
    for own, merged, first in zip(predicted(module), predicted(plain), start, strict=True):
        torch.testing.assert_close(own, merged, rtol=0, atol=1e-5)
        assert (first - merged).abs().max() > 1e-2


def test_steps_leave_the_order_of_tensors_that_an_average_goes_by() -> None:
    pytest.importorskip("peft")
    module = adapt(built())
    before = [name for name, _ in module.named_parameters()]
    descend(module)
    assert [name for name, _ in module.named_parameters()] == before


def test_norms_and_frozen_parts_get_nothing_to_learn() -> None:
    pytest.importorskip("peft")
    module = adapt(built("dino", "freeze=decoder.layers.0"), "adapter.norms=false")
    learns = [name for name, each in module.detector.named_parameters() if each.requires_grad]
    assert not any("norm" in name or name.startswith("decoder.layers.0.") for name in learns)
    assert any("decoder.layers.1.self_attention.lora_A" in name for name in learns)
    assert module.frozen == ("decoder.layers.0", "backbone", "neck")
    assert not any(each.training for each in module.train().detector.backbone.modules())


def test_a_state_is_merged_and_put_together_again() -> None:
    state = {
        "norm.weight": torch.ones(2),
        "a.base_layer.in_proj_weight": torch.rand(6, 2),
        "a.base_layer.out.base_layer.weight": torch.rand(2, 2),
        "a.base_layer.out.base_layer.bias": torch.rand(2),
        **{f"a.base_layer.out.lora_{each}.default.weight": torch.ones(2, 2) for each in "AB"},
        "a.lora_A.default.weight": torch.rand(1, 2),
        "a.lora_B.default.weight": torch.rand(6, 1),
    }
    merged = Adapter(0.5, "").merged(state)
    assert set(merged) == {"norm.weight", "a.in_proj_weight", "a.out.weight", "a.out.bias"}
    weight = state["a.base_layer.out.base_layer.weight"]
    torch.testing.assert_close(merged["a.out.weight"], weight + 1)
    again = joined(merged, beside(state))
    assert set(again) == set(state)
    assert all(each.equal(state[name]) for name, each in again.items())


def test_a_run_goes_on_within_an_epoch_as_if_it_had_not_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("peft")
    save, within = LastCheckpoint._save, tmp_path / "within.ckpt"

    def kept(self: LastCheckpoint, trainer: Any) -> None:
        save(self, trainer)
        if trainer.global_step == 4:
            copy(self.path, within)

    monkeypatch.setattr(LastCheckpoint, "_save", kept)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    train(detbox.compose(*TINY, *RUN, OFTEN), whole)
    assert "adapters of rank 8 beside 16 weights of encoder" in capsys.readouterr().out
    train(detbox.compose(*TINY, *RUN, OFTEN, f"ckpt={within}"), resumed)
    files = [RunCheckpoint.read(folder) for folder in (whole, resumed)]
    lasts = [RunCheckpoint.read(folder / "checkpoints/last.ckpt") for folder in (whole, resumed)]
    start = RunCheckpoint.read(within).trainer
    one, other = (each.trainer for each in lasts)
    assert one is not None
    assert other is not None
    assert start is not None
    for part in (ADAPTER, "current_model_state"):
        assert any("lora_B" in name for name in one[part])
        assert all(each.equal(other[part][name]) for name, each in one[part].items())
    assert any(not each.equal(start[ADAPTER][name]) for name, each in one[ADAPTER].items())
    assert all(each.equal(lasts[1].detector[name]) for name, each in lasts[0].detector.items())
    monkeypatch.setitem(sys.modules, "peft", None)
    for file in files:  # is evaluated without peft
        file.fill(build_module(file.recipe, file.label_space, learns=False).detector)
    with pytest.raises(CheckpointError, match=r"adapter on -> off: the optimizer goes on"):
        check_resumable(lasts[0], {**lasts[0].config, "adapter": None}, lasts[0].label_space)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MachineError, match=r"package peft, .* pip install 'detbox\[lora\]'"):
        adapt(built())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["adapter.parts=[encodr]"], "has no part 'encodr'; did you mean 'encoder'"),
        (["adapter.parts=['']"], "has no part ''"),
        (["adapter.parts=[backbone]"], "backbone has no attention or feed-forward layer"),
        (["adapter.parts=[]"], "adapter.parts is empty"),
        (["adapter.rank=0"], "adapter.rank must be at least 1"),
    ],
)
def test_what_cannot_be_adapted_is_said(options: list[str], sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        adapt(built(), *options)


def test_shares_of_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"merges whole weights, and trainer.strategy=fsdp"):
        train(detbox.compose(*TINY, "adapter=lora", "trainer.strategy=fsdp"), tmp_path)
