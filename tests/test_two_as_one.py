"""Two processes learn what one does from the same pictures, and judge it alike."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked_run
import pytest
import torch
from test_ranks import LAUNCHERS, free_port
from tiny import MODEL, column
from torch.utils._pytree import tree_map

EQUAL = (
    *("experiment=quickstart", *MODEL, "model.num_denoising=0", "backbone.frozen_norm=true"),
    *("data.image_size=64", "data.train_images=12", "data.val_images=5", "data.total_batch=4"),
    *("data.eval_batch_size=2", "trainer.max_epochs=2", "trainer.log_every_n_steps=1"),
    *("trainer.accelerator=cpu", "trainer.precision=32-true", "hydra.run.dir=run"),
)
FIGURES = ("train/loss", "loss_final/giou", "train/grad_norm", "val/loss")


def train(folder: Path, processes: int, *typed: str) -> Path:
    """A run of so many processes, as torchrun starts them."""
    folder.mkdir(exist_ok=True)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}

    def told(rank: int) -> Callable[[], None]:
        return lambda: os.environ.update(place | LAUNCHERS["torchrun"](str(rank)))

    started = [
        forked_run.start(
            "train", *EQUAL, *typed, folder=folder, prepare=told(rank) if processes > 1 else None
        )
        for rank in range(processes)
    ]
    codes = [forked_run.ended(each, 300) for each in started]
    assert codes == processes * [0], (folder / "train.log").read_text()
    return folder / "run"


def assert_alike(one: Path, two: Path, rel: float) -> None:
    """The same curves, and the same detections."""
    for name in FIGURES:
        ours, theirs = (column(run / "metrics.csv", name) for run in (one, two))
        assert len(ours) == (2 if name.startswith("val") else 6)
        assert ours == pytest.approx(theirs, rel=rel), name
    found = [json.loads((run / "detections.json").read_text()) for run in (one, two)]
    scores = [
        sorted((entry["image_id"], entry["category_id"], entry["score"]) for entry in each)
        for each in found
    ]
    assert len(scores[0]) > 20
    for ours, theirs in zip(*scores, strict=True):
        assert ours == pytest.approx(theirs, rel=10 * rel)


@pytest.mark.slow
def test_two_processes_give_the_curves_and_detections_of_one(tmp_path: Path) -> None:
    assert_alike(train(tmp_path / "one", 1), train(tmp_path / "two", 2), 1e-4)


@pytest.mark.slow
def test_shares_of_swin_give_the_curves_and_the_files_of_a_whole(tmp_path: Path) -> None:
    shared, alone = (2, ("trainer.strategy=fsdp",)), (1, ())
    for epochs, way in ((1, (shared, alone)), (2, (alone, shared))):  # each goes on as the other
        typed = ("backbone=swin_t", "backbone.drop_path=0", f"trainer.max_epochs={epochs}")
        runs = [
            train(tmp_path / name, processes, *typed, *strategy, "resume=auto")
            for name, (processes, strategy) in zip(("one", "other"), way, strict=True)
        ]
    assert_alike(runs[0], runs[1], 1e-4)
    ours, theirs = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in runs
    )
    for part in ("state_dict", "optimizer_states"):
        assert shapes(ours[part]) == shapes(theirs[part])


def shapes(tree: Any) -> Any:
    """A tree with the shapes of its tensors in their places."""
    return tree_map(lambda leaf: leaf.shape if isinstance(leaf, torch.Tensor) else leaf, tree)
