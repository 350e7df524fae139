"""Official checkpoints become detbox's own and back, and training starts from one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny import MODEL, SHAPES, TINY
from torch import Tensor

import detbox
from detbox import cli
from detbox.build import build_module, plain
from detbox.commands.train import train
from detbox.conversion import convert, start_from
from detbox.models.detector import Detector
from detbox.official.state import save_official
from detbox.runfile import RunCheckpoint
from detbox.structures import LabelSpace


def detector(num_classes: int) -> Detector:
    return detbox.build_detector(detbox.compose(*MODEL), num_classes)


def official_file(folder: Path, num_classes: int = 91) -> Path:
    path = folder / "official.pth"
    torch.save({"model": save_official(detector(num_classes)), "epoch": 11}, path)
    return path


def converted(source: Path, *overrides: str) -> Path:
    given = (*MODEL, f"source={source}", *overrides)
    return convert(detbox.compose(*given, config_name="convert_checkpoint"))[0]


def own_checkpoint(path: Path, names: tuple[str, ...]) -> tuple[Path, dict[str, Tensor]]:
    """A checkpoint of the tiny detector that knows these classes, and its state dict."""
    state = detector(len(names)).state_dict()
    space = LabelSpace(names, tuple(range(len(names))))
    stored = {"config": plain(detbox.compose(*MODEL, *SHAPES)), "label_space": space.to_dict()}
    weights = {f"detector.{name}": each for name, each in state.items()}
    torch.save({"state_dict": weights, "detbox": stored}, path)
    return path, state


def test_an_official_file_becomes_a_checkpoint_with_coco_names(tmp_path: Path) -> None:
    source = official_file(tmp_path)
    target = converted(source)
    assert target == tmp_path / "official.ckpt"
    predictor = detbox.load(target, "cpu")
    assert predictor.names[18] == "dog"
    assert predictor.label_space.category_ids[18] == 18
    config = RunCheckpoint.read(target).config
    assert config["data"]["name"] == "coco"
    assert config.keys() == plain(detbox.compose(*MODEL)).keys()
    found = predictor.predict(torch.zeros(40, 60, 3, dtype=torch.uint8).numpy())
    assert len(found[0].names) > 0


def test_there_and_back_gives_bit_equal_tensors(tmp_path: Path) -> None:
    source = official_file(tmp_path, num_classes=5)
    back = converted(converted(source), "to=official", f"target={tmp_path / 'back.pth'}")
    first, second = (torch.load(each, weights_only=True)["model"] for each in (source, back))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_classes_are_named_by_the_annotations_given(tmp_path: Path) -> None:
    names = tmp_path / "annotations.json"
    names.write_text(json.dumps({"categories": [{"id": 1, "name": "RBC"}, {"id": 2, "name": "x"}]}))
    target = converted(official_file(tmp_path, 3), f"classes={names}")
    assert detbox.load(target, "cpu").names == ("unused 0", "RBC", "x")


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["model.num_queries=9"], r"tgt_embed.weight \(8, 32\), expected \(9, 32\)"),
        (["to=officia"], "did you mean 'official'"),
        (["classes={source}"], "is no valid JSON|is no UTF-8"),
        (["target={source}"], "is there already"),
        (["to=official", "target=x.pth"], "is no detbox checkpoint"),
    ],
)
def test_what_cannot_be_converted_is_said(tmp_path: Path, overrides: list[str], told: str) -> None:
    source = official_file(tmp_path, 3)
    with pytest.raises(ValueError, match=told):
        converted(source, *(each.format(source=source) for each in overrides))


def test_a_backbone_alone_is_no_detector(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(1), "fc.weight": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"has no class head .*backbone\.weights=FILE"):
        converted(tmp_path / "a.pth")


def test_the_command_line_converts_and_says_what_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    source = official_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["convert_checkpoint.py", f"source={source}", *MODEL])
    cli.main("convert_checkpoint")
    told = capfd.readouterr().out
    assert "official.ckpt: " in told
    assert "from layout dino; 91 classes" in told
    assert {each.name for each in tmp_path.iterdir()} == {"official.pth", "official.ckpt"}


def test_rows_of_known_classes_start_a_detector_of_other_classes(tmp_path: Path) -> None:
    path, stored = own_checkpoint(tmp_path / "a.ckpt", ("square", "disk", "dog"))
    cfg = detbox.compose(*MODEL, *SHAPES)
    module = build_module(cfg, LabelSpace(("disk", "star"), (1, 2)))
    fresh = {name: each.clone() for name, each in module.detector.state_dict().items()}
    assert start_from(module, path, cfg).row_count == 5
    state = module.detector.state_dict()
    heads = [name for name in state if state[name].shape != stored[name].shape]
    assert {name.split(".")[0] for name in heads} == {"query_source", "decoder", "denoiser"}
    for name in heads:
        assert torch.equal(state[name][0], stored[name][1])
        assert torch.equal(state[name][1], fresh[name][1])
    assert all(torch.equal(state[name], stored[name]) for name in set(state) - set(heads))


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_detector_starts_from_an_official_file_as_it_is(tmp_path: Path, wrapped: bool) -> None:
    source = official_file(tmp_path)
    tensors = torch.load(source, weights_only=True)["model"]
    if wrapped:
        named = {f"module.{name}": tensor for name, tensor in tensors.items()}
        other = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
        torch.save({"model": other, "ema": {"module": named}}, source)
    cfg = detbox.compose(*MODEL, *SHAPES)
    module = build_module(cfg, LabelSpace(("person", "star"), (1, 2)))
    assert start_from(module, source, cfg).row_count == 5
    name = "decoder.heads.class_head.bias"
    official = tensors["class_embed.0.bias"]
    assert module.detector.state_dict()[name][0] == official[1]  # COCO's person


def test_training_on_own_data_starts_from_a_checkpoint_of_other_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = own_checkpoint(tmp_path / "a.ckpt", ("dog", "disk", "triangle"))
    options = (*TINY, "trainer=smoke", "trainer.accelerator=cpu", "trainer.devices=1")
    train(detbox.compose(*options, f"init={path}"), tmp_path / "run")
    told = capsys.readouterr().out
    assert "taken over" in told
    assert "disk" in told
    last = RunCheckpoint.read(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert last.trainer is not None
    assert last.trainer["global_step"] == 1


def test_weights_alone_cannot_be_resumed(tmp_path: Path) -> None:
    path, _ = own_checkpoint(tmp_path / "a.ckpt", ("dog",))
    with pytest.raises(ValueError, match="init=FILE in place of ckpt=FILE"):
        train(detbox.compose(*TINY, f"ckpt={path}"), tmp_path)
    with pytest.raises(ValueError, match="give one of the two"):
        train(detbox.compose(*TINY, f"ckpt={path}", f"init={path}"), tmp_path)


def test_absent_annotations_are_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"classes=nowhere\.json: there is no such file"):
        converted(official_file(tmp_path, 3), "classes=nowhere.json")
