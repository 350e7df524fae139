"""Which data a command uses: those of the checkpoint, unless the caller says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

import detbox
from detbox.commands.resuming import with_data
from detbox.commands.train import settled


def test_another_root_brings_its_own_splits() -> None:
    run = detbox.compose(
        "data=coco", "data.val_images=/old/val", "data.val_annotations=/old/val.json"
    )
    cfg = detbox.compose("data=coco", "data.root=/new")
    chosen = with_data(run, cfg, ["ckpt", "data", "data.root"])
    assert chosen.data.root == "/new"
    assert chosen.data.val_images is None
    assert chosen.data.val_annotations is None


def test_what_the_caller_leaves_open_is_as_in_training() -> None:
    run = detbox.compose("data=coco", "data.root=/old", "data.eval_size=192")
    cfg = detbox.compose("data=coco", "data.batch_size=7")
    chosen = with_data(run, cfg, ["data.batch_size"])
    assert (chosen.data.eval_size, chosen.data.batch_size, chosen.data.root) == (192, 7, "/old")


def test_a_folder_is_shown_as_in_training_whatever_its_format() -> None:
    run = detbox.compose("data=coco", "data.root=/old", "data.eval_size=192")
    data = with_data(
        run, detbox.compose("data=folder", "data.root=/new"), ["data", "data.root"]
    ).data
    assert (data.name, data.root, data.format, data.eval_size) == ("folder", "/new", None, 192)


def test_a_folder_may_have_what_looks_like_a_reference_in_its_name() -> None:
    run = detbox.compose("data=coco", "data.root=/old")
    cfg = detbox.compose("data=coco", r"data.root='/\${e}'")
    assert with_data(run, cfg, ["data", "data.root"]).data.root == "/${e}"


def test_another_kind_of_data_is_taken_whole() -> None:
    run = detbox.compose("data=shapes")
    cfg = detbox.compose("data=coco", "data.root=/new")
    assert with_data(run, cfg, ["data", "data.root"]).data == cfg.data


def test_data_paths_are_stored_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = detbox.compose("data=coco", "data.root=cells")
    assert settled(cfg).data.root == str(tmp_path / "cells")
    assert cfg.data.root == "cells"
