"""The W&B view: panels of what runs log, and one sentence where it cannot be saved."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from wandb_helpers import FakeServer

from detbox.errors import MachineError
from detbox.tracking import wandb_view

LOGGED = (
    *("train/loss", "val/loss", "train/grad_norm", "grad_norm/encoder", "lr/base", "epoch"),
    *("val/AP", "val/AP50", "val/AP50_nms", "val/AP_small", "val/AP_medium", "val/AP_large"),
    *("val_raw/AP", "val_raw/AP50", "loss_final/l1", "loss_aux/decoder0/class"),
    *("loss_aux/decoder0/giou", "loss_encoder/l1", "loss_denoising/decoder1/l1", "match/epochs"),
    *("time/data", "time/data_share", "time/images_per_second", "system/cpu_share"),
    "system/memory_gib",
)
"""some of what a run has in `metrics.csv`"""


def test_every_panel_shows_something_that_runs_log() -> None:
    spec = json.loads(wandb_view.workspace("me", "toy", "view")._to_model().model_dump_json())
    sections = spec["spec"]["section"]["panel_bank_config"]["sections"]
    assert [each["name"] for each in sections[:3]] == list(wandb_view.SECTIONS)
    lines = [
        panel["config"]
        for section in sections
        for panel in section["panels"]
        if panel["view_type"] == "Run History Line Plot"
    ]
    assert len(lines) == sum(len(panels) for panels in wandb_view.SECTIONS.values()) - 1
    for line in lines:
        assert line["x_axis"] == "trainer/global_step"
        if pattern := line["metric_regex"]:
            assert any(re.fullmatch(pattern, name) for name in LOGGED), pattern
        else:
            assert set(line["metrics"]) <= set(LOGGED)
    places = [(panel["layout"]["x"], panel["layout"]["y"]) for panel in sections[0]["panels"]]
    assert len(set(places)) == len(places)


def test_a_missing_package_is_named_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(MachineError, match=r"pip install 'detbox\[workspace\]'"):
        wandb_view.saved("toy", "view")


def test_without_a_key_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(MachineError, match="needs an API key and found none; run `wandb login`"):
        wandb_view.saved("toy", "view")


def test_a_server_that_refuses_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    with FakeServer() as server:  # knows nothing of views
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        with pytest.raises(MachineError, match=f"the view is not saved, {server.url} says: "):
            wandb_view.saved("toy", "view", "me")
