"""A toy fit with a W&B run, as a program: `tracked_run.py FOLDER MODE EPOCHS SECONDS_PER_STEP`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch
from training_toys import TRACKING, ToyEvaluation, ToyModule, context, loader, trainer

from detbox.callbacks import assemble
from detbox.console.lines import quiet
from detbox.console.progress import ConsoleProgress
from detbox.tracking.loggers import build_loggers, close_loggers


def main(folder: Path, mode: str, epochs: int, seconds: float) -> None:
    """Train, track, and print how long the end took."""
    torch.set_num_threads(1)
    quiet()
    settings: dict[str, Any] = {
        "name": "wandb",
        "project": "toy",
        "mode": mode,
        "tags": ["a", "b"],
        "group": "g",
    }
    settings["init_seconds"] = 5.0
    config = {"model": {"name": "dino", "num_queries": 8}, "seed": 0}
    loggers = build_loggers(settings, folder, config)
    run = context(folder, loggers)
    evaluation = ToyEvaluation(run.figures)
    callbacks = [evaluation, *assemble(TRACKING, run), ConsoleProgress(every=1000)]
    fit = trainer(
        folder, logger=loggers, callbacks=callbacks, max_epochs=epochs, enable_progress_bar=True
    )
    fit.fit(ToyModule(forward=seconds), loader(4), loader(2))
    start = time.perf_counter()
    close_loggers(loggers)
    print(f"finish {time.perf_counter() - start:.2f}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
