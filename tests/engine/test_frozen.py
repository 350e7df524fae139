"""Parts that stay as they are, in every step, validation and restart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tiny import MODEL, TINY
from torch import nn
from training_toys import SPACE

import detbox
from detbox.build import build_module
from detbox.commands.train import train
from detbox.engine.frozen import part_names
from detbox.engine.module import DetectionModule
from detbox.errors import CheckpointError, SettingError
from detbox.runfile import RunCheckpoint

NAMES = ["backbone", "encoder", "decoder.layers.0"]
RUN = ("trainer.max_epochs=1", "optimizer.lr=1e-2", "model.dropout=0.5")

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers:UserWarning",
    "ignore:.*smaller than the logging interval:UserWarning",
    "ignore:.*LeafSpec:FutureWarning",
)


def built(names: Sequence[str]) -> DetectionModule:
    cfg = detbox.compose(*MODEL, "backbone.frozen_stages=0", "backbone.frozen_norm=false")
    cfg.freeze = list(names)
    return build_module(cfg, SPACE)


def test_frozen_parts_draw_nothing_and_keep_their_statistics() -> None:
    module = built(NAMES)
    for _ in range(2):  # as built, and as a trainer sets it
        parts = [module.detector.get_submodule(name) for name in NAMES]
        assert not any(each.training for part in parts for each in part.modules())
        assert module.detector.decoder.get_submodule("layers.1").training
        assert any(isinstance(each, nn.BatchNorm2d) for each in parts[0].modules())
        module.train()
    learns = {name for name, each in module.detector.named_parameters() if each.requires_grad}
    assert learns
    assert not any(name.startswith(tuple(f"{each}." for each in NAMES)) for name in learns)


def test_a_run_leaves_them_as_they_were_and_keeps_to_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = (*TINY, *RUN, "callbacks=ema", "freeze=[backbone,encoder,decoder.layers.0]")
    cfg = detbox.compose(*options, "trainer=smoke", "trainer.max_epochs=2")
    cfg.backbone.frozen_stages, cfg.backbone.frozen_norm = 0, False
    torch.manual_seed(0)
    train(cfg, tmp_path)
    assert "frozen: backbone, encoder, decoder.layers.0; " in capsys.readouterr().out
    file = tmp_path / "checkpoints" / "last.ckpt"
    torch.manual_seed(0)
    other = detbox.compose(*options, f"ckpt={file}", "freeze=backbone")
    with pytest.raises(CheckpointError, match=r"freeze .* -> backbone: the optimizer goes on"):
        train(other, tmp_path / "other")
    assert RunCheckpoint.read(file).config["freeze"] == NAMES


def test_frozen_tensors_do_not_move() -> None:
    module = built(NAMES)
    before = {name: each.clone() for name, each in module.detector.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=1.0)
    images = detbox.structures.ImageBatch(torch.rand(2, 3, 64, 64), torch.zeros(2, 64, 64).bool())
    module.detector(images).prediction.logits.sum().backward()
    optimizer.step()
    moved = {n for n, each in module.detector.state_dict().items() if not before[n].equal(each)}
    assert any(name.startswith("decoder.layers.1") for name in moved)
    assert not any(name.startswith(tuple(NAMES)) for name in moved)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("encodr", "freeze=encodr: the detector has no such part; did you mean 'encoder'"),
        ([""], "freeze=: the detector has no such part"),
        (7, "freeze=7: the detector has no such part; choose one of backbone, neck"),
        (
            ["backbone", "neck", "encoder", "query_source", "decoder", "denoiser"],
            "leaves nothing to learn",
        ),
    ],
)
def test_what_cannot_be_frozen_is_said(given: object, sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        built(part_names(given))
