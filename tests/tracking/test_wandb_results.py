"""Files of an evaluation on W&B."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from PIL import Image
from training_toys import ToyModule, context, loader, trainer
from wandb_helpers import OfflineRun

from detbox.tracking.loggers import build_loggers, close_loggers
from detbox.tracking.wandb_results import WandbResults


def test_tables_and_pictures_are_sent_behind_the_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    loggers = build_loggers({"name": "wandb", "project": "toy"}, tmp_path, {})
    run = context(tmp_path, loggers)
    (tmp_path / "a.csv").write_text('class,score\n"1, 2",0.5\n3,0.25\n')
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    run.figures.written["a"] = [tmp_path / name for name in ("a.csv", "a.png", "missing.png")]
    run.figures.written["b"] = [tmp_path / "a.png"] * 2
    fit = trainer(tmp_path, logger=loggers, callbacks=[WandbResults(run.figures)])
    fit.fit(ToyModule(), loader(1), loader(1))
    close_loggers(loggers)
    for _ in range(100):  # W&B's own process closes the file when it likes
        sent = OfflineRun(tmp_path)
        if sent.history:
            break
        time.sleep(0.1)
    stored = json.loads(sent.file(sent.row("val/a_table")["val/a_table"]["path"]).read_text())
    assert stored == {"columns": ["class", "score"], "data": [["1, 2", 0.5], ["3", 0.25]]}
    shown = {key for row in sent.history for key in row if key.startswith("val/b")}
    assert sent.row("val/a")["val/a"]["width"] == 40
    assert shown == {"val/b/01", "val/b/02"}
