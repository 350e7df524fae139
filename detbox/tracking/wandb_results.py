"""Tables and pictures of a run's end, on W&B."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import wandb

from detbox.figures import Figures
from detbox.tracking.wandb_run import RunLogger

MOST_ROWS = 10_000
"""that W&B keeps of a table"""


class WandbResults(pl.Callback):
    """Send what an evaluation wrote at the end: pictures `val/NAME`, tables `val/NAME_table`.

    Args:
        figures: of the run; they know what was written.
    """

    def __init__(self, figures: Figures) -> None:
        self.figures = figures

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Send, behind the evaluation."""
        if not trainer.is_global_zero or not self.figures.written:
            return
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger):
                sent: dict[str, Any] = {}
                for name, files in self.figures.written.items():
                    sent |= _media(
                        f"val/{name}", [path for path in files if path.is_file()], logger
                    )
                logger.log_metrics(sent, step=trainer.global_step)


def _media(name: str, files: Sequence[Path], logger: RunLogger) -> dict[str, Any]:
    """Several pictures are numbered: in a list W&B would show all in the size of the first."""
    drawn = [path for path in files if path.suffix != ".csv"]
    keys = [name] if len(drawn) == 1 else [f"{name}/{number:02d}" for number in range(1, 100)]
    found: dict[str, Any] = {
        key: wandb.Image(str(path), caption=path.stem)
        for key, path in zip(keys, drawn, strict=False)
    }
    for path in set(files) - set(drawn):
        found[f"{name}_table"] = _table(path, f"{name}_table", logger)
    return found


def _table(path: Path, name: str, logger: RunLogger) -> wandb.Table:
    """Numbers as numbers; W&B wants one type a column, and the first rows of a long table."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    columns = [_typed(column) for column in zip(*rows[:MOST_ROWS], strict=True)]
    data = [list(row) for row in zip(*columns, strict=True)]
    table = wandb.Table(columns=list(header), data=data)
    # As in the dashboard: unbound it would become an artifact.
    table.bind_to_run(logger.experiment, name, logger.experiment.step)
    return table


def _typed(column: Sequence[str]) -> list[Any]:
    try:
        return [float(each) for each in column]
    except ValueError:
        return list(column)
