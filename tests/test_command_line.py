"""What a person types: runs, sweeps, and one readable message where something is wrong."""

from __future__ import annotations

import json
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from tiny import MODEL, TINY, TRAINER, run

from detbox import cli
from detbox.commands.overrides import typed_keys
from detbox.commands.table import COMMANDS
from detbox.registry import Part
from detbox.runfile import RunCheckpoint
from detbox.structures import LabelSpace

WRONG = [
    (["model=dinoo"], "did you mean 'dino'"),
    (["model.num_querys=300"], "did you mean 'num_queries'"),
    (["model.num_queries=abc"], "could not be converted to Integer"),
    (["backbone=resnet51"], "did you mean 'resnet50'"),
    (["criterion.weights.gious=2"], "did you mean 'giou'"),
    (["optimizer.lr_factors={neck:0.5}"], "a new one: +optimizer.lr_factors.neck=VALUE"),
    (["trainer.precision=bf17"], "precision has no choice 'bf17'"),
    (["data=coco"], "data=coco needs data.root=FOLDER"),
    (["data=coco", "data.root=nowhere"], "there is no folder"),
    (["ckpt=nowhere.ckpt"], "no checkpoint at nowhere.ckpt"),
    (["schedule.drop_epochs=[30]"], "did you mean 'drops'"),
    (["seed=x"], "seed must be a whole number"),
    (["dino"], "dino: expected key=value"),
    (["backbone=timm"], "give backbone.model=VALUE"),
    (["criterion.weights.giou=abc"], "criterion.weights.giou must be a number"),
    (["postprocess.num_select=abc"], "could not be converted to Integer"),
    (["model.decoder_layers=0"], "must be at least 1"),
    (["trainer.max_epochs=-3"], "trainer.max_epochs must be at least 1, or -1, got -3"),
    (["data=coco", "optimizer.lr=nan"], "optimizer.lr must be above 0, got nan"),
    (["callbacks.pictures.threshold=2"], "callbacks.pictures.threshold must be from 0 to 1"),
    (["lr_batch=0"], "lr_batch must be at least 1, got 0"),
    (["criterion.weights.giou=-1"], "criterion.weights.giou must be at least 0, got -1"),
    (["trainer.accelerator=gpux"], "accelerator has no choice 'gpux'"),
]


@pytest.mark.parametrize(("wrong", "told"), WRONG, ids=lambda each: str(each[0])[:40])
def test_a_mistake_ends_in_one_message(
    wrong: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["train.py", *MODEL, *TRAINER, *wrong])
    with pytest.raises(SystemExit) as stop:
        cli.main("train")
    output, errors = capfd.readouterr()
    assert stop.value.code == 1
    assert errors.startswith("error: ")
    assert len(errors.splitlines()) == 1
    assert told in errors
    assert "Traceback" not in output


def test_the_version_is_that_of_detbox(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["train.py", "--version"])
    cli.main("train")
    assert capsys.readouterr().out == f"detbox {version('detbox')}\n"


@pytest.mark.parametrize("name", ["a=b", "a b", "a[1]", "ü~"])
def test_evaluate_finds_checkpoints_under_any_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name / "best.ckpt"
    space = LabelSpace(("disk",), (1,))
    RunCheckpoint({"data": {"name": "coco"}}, space, {}).write(path)
    seen: list[Any] = []
    replaced = Part(lambda cfg, _: seen.append((cfg, typed_keys())), None)
    monkeypatch.setitem(COMMANDS._parts, "evaluate", replaced)
    monkeypatch.setattr("sys.argv", ["evaluate.py", f"ckpt='{path}'", "+data.root=x"])
    monkeypatch.chdir(tmp_path)
    with suppress(SystemExit):
        cli.main("evaluate")
    ((cfg, given),) = seen
    assert (cfg.ckpt, cfg.data.name) == (str(path), "coco")
    assert set(given) == {"data", "ckpt", "data.root"}


@pytest.mark.slow
def test_train_evaluate_predict_from_any_folder(tmp_path: Path, shapes_cache: Path) -> None:
    done = run("train", *TINY, "trainer.max_epochs=1", "hydra.run.dir=run", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "COCO evaluation, 5 images" in done.stdout
    assert str(tmp_path / "run") in done.stdout
    left = {path.name for path in (tmp_path / "run").rglob("*") if path.is_file()}
    expected = {"best.ckpt", "last.ckpt", "metrics.csv", "detections.json", "pictures.jpg"}
    expected |= {"curves.png"}
    assert expected <= left

    checkpoint = "ckpt=run/checkpoints/last.ckpt"
    again = run("evaluate", checkpoint, "hydra.run.dir=evaluation", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    ours, theirs = (
        json.loads((tmp_path / name / "detections.json").read_text())
        for name in ("run", "evaluation")
    )
    assert ours == theirs
    assert {entry["image_id"] for entry in ours} == {1, 2, 3, 4, 5}

    (pictures,) = shapes_cache.glob("shapes-*-64px-12-5/val")
    options = ("threshold=0", f"source={pictures}", "hydra.run.dir=shown")
    shown = run("predict", checkpoint, *options, folder=tmp_path)
    assert shown.returncode == 0, shown.stderr
    listed = json.loads((tmp_path / "shown" / "predictions.json").read_text())["images"]
    assert len(listed) == len(list((tmp_path / "shown").glob("*.jpg"))) == 5
    assert {"name", "score", "box", "category_id"} <= set(listed[0]["detections"][0])


@pytest.mark.slow
def test_a_sweep_ends_in_one_table(tmp_path: Path) -> None:
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    sweep = ("model.num_queries=4,8", "trainer.max_epochs=1", "hydra.sweep.dir=sweep")
    done = run("train", *launcher, *TINY, *sweep, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "sweep" / "sweep.csv").read_text().splitlines()
    assert len(rows) == 3
    assert done.stdout.count("instances_train.json: 12 images") == 2
    assert "model.num_queries" in rows[0]
    assert "val/AP" in rows[0] or "AP" in rows[0]


@pytest.mark.slow
def test_cfg_job_prints_the_configuration_and_trains_nothing(tmp_path: Path) -> None:
    done = run("train", "model=dino", "backbone=swin_l", "--cfg", "job", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "swin_large_patch4_window12_384" in done.stdout
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.slow
def test_a_sweep_over_several_devices_is_refused(tmp_path: Path) -> None:
    wrong = ("seed=0,1", "trainer.devices=2", "hydra.sweep.dir=sweep")
    done = run("train", "-m", *TINY, *wrong, folder=tmp_path)
    assert done.returncode != 0 or "add trainer.devices=1" in done.stdout
    assert "add trainer.devices=1" in done.stdout + done.stderr
