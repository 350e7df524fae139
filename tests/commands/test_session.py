"""What a command says at its end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import detbox
from detbox.build import build_data
from detbox.commands.session import context_of, written


def test_only_what_was_written_is_announced(tmp_path: Path) -> None:
    for name in ("metrics.csv", "pictures.jpg"):
        (tmp_path / name).write_text("of a run before")
    settings = ("data.image_size=64", "data.train_images=2", "data.val_images=2")
    cfg = detbox.compose(*settings)
    data: Any = build_data(cfg)
    context = context_of(cfg, data, tmp_path, data.label_space, training=False)
    assert written(context) == []
    (tmp_path / "detections.json").write_text("[]")
    later = (tmp_path / "pictures.jpg").stat().st_mtime_ns + 10**9
    os.utime(tmp_path / "pictures.jpg", ns=(later, later))
    assert written(context) == ["detections.json", "pictures.jpg"]
