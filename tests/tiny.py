"""The smallest run that is still a run, and how to start it as a user does."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).parents[1] / "tools"
MODEL = (
    "backbone=resnet10t",
    "backbone.pretrained=false",
    "neck.hidden_dim=32",
    "neck.num_levels=3",
    "model.num_queries=8",
    "model.encoder_layers=1",
    "model.decoder_layers=2",
    "model.num_heads=4",
    "model.feedforward_dim=32",
    "model.num_denoising=4",
)
SHAPES = ("data.image_size=64", "data.train_images=12", "data.val_images=5", "data.batch_size=2")
TRAINER = ("trainer.accelerator=cpu", "trainer.devices=1", "trainer.log_every_n_steps=1")
TINY = (*MODEL, *SHAPES, *TRAINER)


def command(tool: str, *overrides: str) -> list[str]:
    """`python tools/<tool>.py ...`."""
    return [sys.executable, str(TOOLS / f"{tool}.py"), *overrides]


def run(tool: str, *overrides: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a tool with `folder` as the working directory."""
    return subprocess.run(
        command(tool, *overrides),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )


def environment() -> dict[str, str]:
    """One thread, no hub."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def column(metrics: Path, name: str) -> dict[int, float]:
    """Step -> figure, of a metrics.csv."""
    with metrics.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {int(row["step"]): float(row[name]) for row in rows if row.get(name)}
