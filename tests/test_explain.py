"""Hydra's errors in one sentence, with the key that was meant."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import detbox
import detbox.commands  # fills the table of commands
from detbox.explain import explain
from detbox.foreign import OURS, keys_of
from detbox.messages import typed

FOREIGN = (
    ("train", "epochs=3", "here it is trainer.max_epochs=3"),
    ("train", "max_epochs=3", "here it is trainer.max_epochs=3"),
    ("train", "lr=1e-4", "here it is optimizer.lr=1e-4"),
    ("train", "optimizer.learning_rate=1", "here it is optimizer.lr=1"),
    ("train", "batch=8", "here it is data.batch_size=8 or data.total_batch=8"),
    ("train", "imgsz=640", "here it is data.image_size=640"),
    ("train", "data=coco imgsz=640", "here it is data.train_sizes=[640] data.eval_size=640"),
    ("train", "weights=a.pth", "here it is init=a.pth (a detector) or backbone.weights=a.pth"),
    ("train", "pretrained=false", "here it is backbone.pretrained=false"),
    ("train", "device=0", "or trainer.devices=[0]"),
    ("train", "name=first", "here it is hydra.run.dir=runs/first"),
    ("train", "project=mine", "here it is hydra.run.dir=runs/mine"),
    ("train", "num_classes=3", "the classes come from the annotations"),
    ("train", "num_queries=30", "here it is model.num_queries=30"),
    ("evaluate", "weights=a.ckpt", "ckpt=a.ckpt"),
    ("evaluate", "batch_size=3", "here it is data.batch_size=3"),
    ("predict", "conf=0.5", "here it is threshold=0.5"),
    ("predict", "images=folder", "here it is source=folder"),
    ("predict", "model=best.ckpt", "here it is ckpt=best.ckpt"),
)


def explained(command: str, *overrides: str) -> str:
    """What is said of a command line that Hydra refuses."""
    with pytest.raises((HydraException, OmegaConfBaseException)) as refused:
        detbox.compose(*overrides, config_name=command)
    return explain(refused.value, overrides, command)


@pytest.mark.parametrize(("command", "typed", "told"), FOREIGN, ids=lambda each: str(each)[:30])
def test_keys_of_other_toolboxes_name_the_real_ones(command: str, typed: str, told: str) -> None:
    line = explained(command, *typed.split())
    assert told in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("backbone=/w/a.pth", "/w/a.pth: expected an option, got a file.* backbone.weights=/w/a.p"),
        ("model=dino.pth", "model=dino.pth: expected an option, got a file.* init=dino.pth"),
        ("model=swin_l", r"did you mean backbone=swin_l\?"),
        ("data.root=x", "choose data=coco or data=folder with it"),
        ("/tmp", "expected key=value, .*; a folder of pictures and labels is data=/tmp"),
        ("model=dimo", "model=dimo: no such option; did you mean 'dino'"),
    ],
)
def test_what_is_no_option_of_a_group_is_told_where_it_belongs(typed: str, told: str) -> None:
    assert re.search(told, explained("train", typed))


def test_a_run_alone_is_no_folder_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    assert explained("train", str(tmp_path)).endswith(f"; a run is {typed('ckpt', str(tmp_path))}")


def test_what_a_command_lacks_is_not_advised() -> None:
    assert "trainer.max_epochs" not in explained("predict", "epochs=3")
    assert "init=" not in explained("evaluate", "weights=a.ckpt")


def test_a_misspelt_key_still_names_the_nearest() -> None:
    assert "did you mean 'num_queries'" in explained("train", "model.num_querys=3")


def test_every_advised_key_exists_in_a_command() -> None:
    cfgs = [
        detbox.compose(),
        detbox.compose("data=coco"),
        detbox.compose("ckpt=x", config_name="predict"),
    ]
    for said in (each for way in OURS.values() for each in way):
        typed = re.sub(r"\s\(.*\)", "", said.format("x"))
        for key in (each for each in keys_of(typed) if not each.startswith("hydra.")):
            assert any(_there(cfg, key) for cfg in cfgs), key


def _there(cfg: object, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(cfg, DictConfig) or part not in map(str, cfg):
            return False
        cfg = None if OmegaConf.is_missing(cfg, part) else cfg[part]
    return True


@pytest.mark.parametrize(
    ("typed", "group", "option"),
    [
        ("hydra/launcher=joblib", "launcher", "joblib"),
        ("search=optuna", "sweeper", "optuna"),
    ],
)
def test_a_missing_launcher_names_its_package(
    typed: str, group: str, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Plugins.instance()  # which would register them later
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"][group], f"{option}.yaml")
    told = explained("train", typed)
    assert f"needs the package hydra-{option}-{group}, which is not installed here" in told
    assert 'pip install "detbox[sweep]"' in told
