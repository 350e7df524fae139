"""What only W&B can show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import lightning.pytorch as pl
import wandb

from detbox.figures import ClassMetrics, Figures
from detbox.structures import Batch, LabelSpace
from detbox.tracking.panels import Panel, panel
from detbox.tracking.wandb_run import RunLogger


class WandbDashboard(pl.Callback):
    """Panels of the same validation images with true and found boxes, and a table of class APs.

    Both are logged after each validation, as `panels/image_<id>` and `val/classes`.

    Args:
        figures: of the run; the table needs them.
        num_images: the first images of the validation set (in a distributed run: of rank 0).
        threshold: least score of a box that is drawn.
    """

    def __init__(self, figures: Figures, num_images: int = 8, threshold: float = 0.3) -> None:
        self.figures = figures
        self.num_images = num_images
        self.threshold = threshold
        self._panels: list[Panel] = []

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the previous panels."""
        self._panels = []

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Prepare the images that are still missing."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        names = cast("LabelSpace", pl_module.label_space).names
        for image, detections in enumerate(outputs[: self.num_images - len(self._panels)]):
            self._panels.append(panel(batch, image, detections, names, self.threshold))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Send panels and table."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        last = self.figures.last
        rows = last.classes if last else ()
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger):
                shown = {f"panels/{p.name}": _image(p) for p in self._panels}
                table = {"val/classes": _table(rows, logger)} if rows else {}
                logger.log_metrics({**shown, **table}, step=trainer.global_step)


def _image(drawn: Panel) -> wandb.Image:
    return wandb.Image(drawn.pixels, caption=drawn.name, boxes=drawn.boxes)


def _table(rows: Sequence[ClassMetrics], logger: RunLogger) -> wandb.Table:
    """A table of named tuples that W&B stores as a file of the run."""
    table = wandb.Table(columns=list(rows[0]._fields), data=[list(row) for row in rows])
    # An unbound table becomes an artifact, and then `log` waits for the server and may fail.
    table.bind_to_run(logger.experiment, "val/classes", logger.experiment.step)
    return table
