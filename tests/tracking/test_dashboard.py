"""W&B runs: what lands on the dashboard, and that no network trouble ends a training."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from training_toys import SPACE, batch, detections
from wandb_helpers import FakeServer, OfflineRun

from detbox.tracking.panels import panel

TOY = Path(__file__).parents[1] / "tracked_run.py"
KEY: dict[str, Any] = {"WANDB_API_KEY": "0" * 40}


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> tuple[OfflineRun, Path, str]:
    """A finished offline run, made with `mode=auto`, no key and no terminal."""
    folder = tmp_path_factory.mktemp("offline")
    run = start(folder, "auto", epochs=2)
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 0, output
    return OfflineRun(folder), folder, output


def start(
    folder: Path, mode: str, *, epochs: int, seconds: float = 0.0, **environment: str
) -> subprocess.Popen[str]:
    """Start the toy fit in a process of its own, without any W&B credentials of this machine."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    clean |= {"NETRC": str(folder / "none"), "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, "-u", str(TOY), str(folder), mode, str(epochs), str(seconds)]
    return subprocess.Popen(
        command,
        env=clean,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_without_key_the_run_is_offline_and_nobody_is_asked(
    offline: tuple[OfflineRun, Path, str],
) -> None:
    _, _, output = offline
    assert "W&B: no API key found, so the run is offline" in output
    assert "wandb sync" in output


def test_console_shows_only_lines_of_detbox(offline: tuple[OfflineRun, Path, str]) -> None:
    _, _, output = offline
    known = ("W&B: ", "epoch ", "finish ", "compute-bound: ", "data-bound: ")
    assert [line for line in output.splitlines() if not line.startswith(known)] == []


def test_every_term_rate_norm_and_time_is_in_the_history(
    offline: tuple[OfflineRun, Path, str],
) -> None:
    run, _, _ = offline
    keys = set().union(*run.history)
    groups = {key.split("/")[0] for key in keys}
    assert {"loss_final", "loss_aux", "loss_encoder", "loss_denoising"} <= groups
    assert {"train/loss", "train/grad_norm", "lr/backbone", "val/AP", "val/AP50"} <= keys
    assert {f"time/{part}" for part in ("data", "forward", "loss", "backward_step")} <= keys


def test_csv_holds_the_same_figures_as_the_dashboard(
    offline: tuple[OfflineRun, Path, str],
) -> None:
    run, folder, _ = offline
    with (folder / "metrics.csv").open() as file:
        columns = set(next(csv.reader(file)))
    keys = {key for row in run.history for key in row if not key.startswith("_")}
    media = {key for key in keys if key.startswith("panels/")} | {"val/classes"}
    assert keys - media - {"trainer/global_step"} == columns - {"step"}


def test_resolved_config_tags_and_group_are_in_the_run(
    offline: tuple[OfflineRun, Path, str],
) -> None:
    run, _, _ = offline
    assert run.config["model"] == {"name": "dino", "num_queries": 8}
    assert run.tags == ["a", "b"]
    assert run.group == "g"


def test_class_table_follows_each_validation(offline: tuple[OfflineRun, Path, str]) -> None:
    run, _, _ = offline
    assert sum("val/classes" in row for row in run.history) == 2
    stored = json.loads(run.file(run.row("val/classes")["val/classes"]["path"]).read_text())
    assert stored["columns"] == ["name", "category_id", "boxes", "AP", "AP50"]
    assert stored["data"] == [["cat", 1, 3, 0.25, 0.5], ["dog", 2, 4, 0.75, 1.0]]


def test_panels_show_true_and_found_boxes_on_the_unpadded_image(
    offline: tuple[OfflineRun, Path, str],
) -> None:
    run, _, _ = offline
    shown = run.row("panels/image_1")["panels/image_1"]
    assert (shown["height"], shown["width"]) == (4, 6)
    layers = run.row("panels/image_0")["panels/image_0"]["boxes"]
    boxes = {
        name: json.loads(run.file(layer["path"]).read_text())["box_data"]
        for name, layer in layers.items()
    }
    (true,), (found,) = boxes["ground_truth"], boxes["prediction"]
    assert true["box_caption"] == "cat"
    assert true["position"] == {"minX": 0.25, "minY": 0.25, "maxX": 0.75, "maxY": 0.75}
    assert found["box_caption"] == "dog 0.90"
    assert found["position"] == {"minX": 0.0, "minY": 0.0, "maxX": 0.5, "maxY": 1.0}


def test_panel_leaves_out_detections_below_the_threshold() -> None:
    for threshold, count in ((0.05, 2), (0.3, 1), (0.95, 0)):
        drawn = panel(batch(), 1, detections(40, 60), SPACE.names, threshold)
        assert len(drawn.boxes["prediction"]["box_data"]) == count
        assert drawn.boxes["ground_truth"]["box_data"] == []
        assert drawn.pixels.shape == (4, 6, 3)


@pytest.mark.slow
def test_server_receives_a_complete_online_run(tmp_path: Path) -> None:
    with FakeServer() as server:
        run = start(tmp_path, "auto", epochs=2, WANDB_BASE_URL=server.url, **KEY)
        output, _ = run.communicate(timeout=120)
    assert run.returncode == 0, output
    assert f"W&B: {server.url}" in output
    assert server.completed
    assert server.exit_code == 0
    assert sum("train/loss" in row for row in server.history) == 8
    assert sum("val/classes" in row for row in server.history) == 2
    names = "\n".join(server.received)
    assert "media/images/panels/image_0" in names
    assert "media/table/val/classes" in names
    assert b"num_queries" in server.received["config.yaml"]


@pytest.mark.slow
def test_training_goes_on_when_the_server_dies(tmp_path: Path) -> None:
    with FakeServer() as server:
        options: dict[str, Any] = {"WANDB_BASE_URL": server.url, **KEY}
        output = []
        with start(tmp_path, "auto", epochs=10, seconds=0.05, **options) as run:
            assert run.stdout is not None
            for line in run.stdout:
                output.append(line)
                if line.startswith("epoch  1/10"):
                    server.die()
    assert run.returncode == 0, output
    assert any(line.startswith("epoch 10/10") for line in output)
    (finish,) = (float(line.split()[1]) for line in output if line.startswith("finish"))
    assert finish < 20
    assert any("wandb sync" in line for line in output)


@pytest.mark.slow
def test_unreachable_server_makes_the_run_an_offline_one(tmp_path: Path) -> None:
    with FakeServer() as server:
        url = server.url
    run = start(tmp_path, "online", epochs=1, WANDB_BASE_URL=url, **KEY)
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 0, output
    assert "warning: W&B: going on offline" in output
    assert any("val/AP" in row for row in OfflineRun(tmp_path).history)
