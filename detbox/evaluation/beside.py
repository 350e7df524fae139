"""COCO evaluation of other weights than the module's, in the same validation."""

from __future__ import annotations

from collections.abc import Callable

from lightning.pytorch import Callback, LightningModule, Trainer

from detbox.callbacks import Judged
from detbox.evaluation.callback import score
from detbox.evaluation.coco import CocoEvaluator
from detbox.structures import Batch, Detections


class BesideEvaluation(Callback):
    """Judge a second module on the batches of a training's validations; log `NAME/AP`, ....

    Args:
        evaluator: knows annotation file and classes.
        name: before the figures.
        judged: gives the module at a validation's batch; None: it is the one that was validated.
    """

    def __init__(
        self, evaluator: CocoEvaluator, name: str, judged: Callable[[], Judged | None]
    ) -> None:
        self.evaluator = evaluator
        self.name = name
        self.judged = judged

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
        """Detect in the same pictures; Lightning has no gradients on here."""
        if trainer.state.fn != "fit":
            return
        if (module := self.judged()) is not None:
            with trainer.precision_plugin.val_step_context():
                outputs = module.detect(batch)
        self.evaluator.update(batch.image_ids, outputs)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log on all ranks."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        figures = score(trainer, self.evaluator).scalars().items()
        pl_module.log_dict({f"{self.name}/{name}": value for name, value in figures})
