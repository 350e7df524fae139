"""COCO evaluation inside Lightning's validation."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer

from detbox.evaluation.coco import CocoEvaluator
from detbox.figures import CocoMetrics, Figures
from detbox.messages import counted
from detbox.structures import Batch, Detections

logger = logging.getLogger("detbox")


class CocoEvaluation(Callback):
    """Evaluate what `validation_step` returns (list[Detections]) and log it as `val/AP`, ....

    The last detections are written to `folder/detections.json` when a run ends, be it a fit or a
    validation alone. With `limit_val_batches` only the images seen count, and a warning says so.

    Args:
        evaluator: knows annotation file and classes.
        folder: of the run.
        figures: where those of the last validation are left for others.
    """

    def __init__(self, evaluator: CocoEvaluator, folder: Path, figures: Figures) -> None:
        self.evaluator = evaluator
        self.folder = folder
        self.figures = figures
        figures.promised = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Have the last epoch judged as well, which `check_val_every_n_epoch` may leave out."""
        if trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Have the weights judged with which `max_steps` ends a run within an epoch."""
        if 0 <= trainer.max_steps <= trainer.global_step:
            trainer.check_val_every_n_epoch = 1
            trainer.should_stop = True  # Lightning validates before it ends a run

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the previous epoch."""
        self.evaluator.reset()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: list[Detections],  # type: ignore[override]
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect one batch."""
        self.evaluator.update(batch.image_ids, outputs)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather, compute on rank 0, log on all."""
        if trainer.sanity_checking:
            return
        metrics = self.figures.last = score(trainer, self.evaluator)
        self._warn(trainer, metrics)
        logged = {f"val/{name}": value for name, value in metrics.scalars().items()}
        pl_module.log_dict(logged, sync_dist=True)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the last detections."""
        if trainer.is_global_zero and self.figures.last is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps(self.evaluator.results())
            (self.folder / "detections.json").write_text(text, encoding="utf-8")

    def _warn(self, trainer: Trainer, metrics: CocoMetrics) -> None:
        if trainer.is_global_zero and is_limited(trainer):
            logger.warning(
                "limit_val_batches: of this split, %s scored", counted(metrics.images, "image")
            )


def score(trainer: Trainer, evaluator: CocoEvaluator) -> CocoMetrics:
    """Gather what all ranks collected, compare it on rank 0, and give all of them the figures."""
    evaluator.gather()
    seen_only = is_limited(trainer)
    mine = evaluator.compute(seen_only=seen_only) if trainer.is_global_zero else None
    return cast("CocoMetrics", trainer.strategy.broadcast(mine))


def is_limited(trainer: Trainer) -> bool:
    """Whether a validation sees a part of the split."""
    limit = trainer.limit_val_batches
    return isinstance(limit, int) or limit < 1.0  # the int 1 is one batch, 1.0 is all
