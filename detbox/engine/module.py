"""The LightningModule: a detector, its loss and its optimizer, nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from detbox.criterion import Criterion, LossTerms
from detbox.engine.adapter import ADAPTER, Adapter, beside, joined
from detbox.engine.frozen import freeze_parts
from detbox.engine.optimization import Optimization
from detbox.engine.validation_loss import UNDIVIDED, ValidationLoss
from detbox.errors import DivergedError
from detbox.models.detector import Detector
from detbox.postprocess import Postprocess
from detbox.runfile import AVERAGED, run_header
from detbox.structures import Batch, Detections, LabelSpace, Outputs, StepOutputs

if TYPE_CHECKING:
    from typing_extensions import Self


class DetectionModule(pl.LightningModule):
    """Train and run a detector; callbacks evaluate, log and draw.

    Args:
        detector: (ImageBatch, Targets | None) -> Outputs.
        criterion: (Outputs, Targets) -> loss terms.
        postprocess: (PredictionSet, sizes) -> detections.
        optimization: makes optimizer and schedule; None to evaluate.
        label_space: classes, stored in the checkpoint.
        config: the resolved configuration as plain containers, stored in the checkpoint.
    """

    def __init__(
        self,
        detector: Detector,
        criterion: Criterion,
        postprocess: Postprocess,
        optimization: Optimization | None,
        label_space: LabelSpace,
        config: dict[str, Any],
    ) -> None:
        super().__init__()
        self.detector = detector
        self.criterion = criterion
        self.postprocess = postprocess
        self.optimization = optimization
        self.label_space = label_space
        self.config = config
        self.validation_loss = ValidationLoss()
        self.guarded = False
        """True: a callback asks whether the loss is finite, so that all processes can agree"""
        self.frozen: tuple[str, ...] = ()
        """modules of the detector that stay as they are"""
        self.adapter: Adapter | None = None
        """of the detector's layers; files hold them merged, which needs nobody to know of them"""

    def freeze_parts(self, names: Sequence[str]) -> None:
        """Keep modules of the detector as they are: no gradient, no dropout, stored statistics.

        Raises:
            SettingError: there is no such module, or nothing else is left.
        """
        freeze_parts(self.detector, names)
        self.frozen = tuple(names)
        self.train(self.training)

    def adapt(self, adapter: Adapter) -> None:
        """Take note of adapters that the detector has got, and of the parts that learn no more."""
        self.adapter = adapter
        still = [
            name
            for name, part in self.detector.named_children()
            if {each.requires_grad for each in part.parameters()} == {False}
        ]
        self.freeze_parts([*dict.fromkeys([*self.frozen, *still])])

    def detector_state(self) -> dict[str, Tensor]:
        """The detector's state dict, with adapters merged into the layers."""
        state = self.detector.state_dict()
        return state if self.adapter is None else self.adapter.merged(state)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all that is not frozen."""
        super().train(mode)
        for name in self.frozen:
            self.detector.get_submodule(name).eval()
        return self

    def training_step(self, batch: Batch, batch_index: int) -> StepOutputs:
        """The loss to minimise and its terms, detached.

        Raises:
            DivergedError: the matcher met predictions that are not finite, and nobody asks.
        """
        outputs = self.detector(batch.images, batch.targets)
        try:
            terms: LossTerms = self.criterion(outputs, batch.targets, batch.step)
        except DivergedError:
            if not self.guarded:
                raise
            return StepOutputs(loss=self._no_number(), terms=())
        detached = tuple(term._replace(value=term.value.detach()) for term in terms.entries)
        return StepOutputs(loss=terms.total, terms=detached)

    def _no_number(self) -> Tensor:
        """A loss that is NaN in every parameter, which other processes wait for."""
        learnt = [each.sum() for each in self.parameters() if each.requires_grad]
        return torch.stack(learnt).sum() * torch.nan

    def validation_step(  # type: ignore[override]
        self, batch: Batch, batch_index: int
    ) -> list[Detections]:
        """Detections of each image; within a fit also notes the loss."""
        outputs = self.detector(batch.images)
        if self.trainer.state.fn == "fit":
            self._note_loss(outputs, batch)
        return self.postprocess(outputs.prediction, batch.sizes)

    def detect(self, batch: Batch) -> list[Detections]:
        """Detections of each image, also without a trainer."""
        return self.postprocess(self.detector(batch.images).prediction, batch.sizes)

    def on_validation_epoch_start(self) -> None:
        """Forget a validation that was cut short."""
        self.validation_loss = ValidationLoss()

    def on_validation_epoch_end(self) -> None:
        """Log the loss of all pictures on all processes; every one of them had a batch."""
        together = partial(self.trainer.strategy.reduce, reduce_op="sum")
        if (total := self.validation_loss.total(together)) is not None:
            self.log("val/loss", total)

    def _note_loss(self, outputs: Outputs, batch: Batch) -> None:
        terms: LossTerms = self.criterion(outputs, batch.targets, UNDIVIDED, alone=True)
        counts = batch.targets.counts if batch.step is None else batch.step.counts
        self.validation_loss.add(terms, sum(counts) if counts else None)

    def configure_optimizers(self) -> Any:
        """Optimizer and schedule, stepped once per training step.

        Raises:
            RuntimeError: it was built to evaluate.
        """
        if self.optimization is None:
            raise RuntimeError("a module without an optimization cannot train")
        return self.optimization(self.detector, *planned_steps(self.trainer))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what `detbox.load` needs beside the weights; callbacks were here before."""
        averaged = checkpoint.pop(AVERAGED, 0)
        if self.adapter is not None:
            checkpoint[ADAPTER] = beside(checkpoint["state_dict"])
            checkpoint["state_dict"] = self.adapter.merged(checkpoint["state_dict"])
        checkpoint["detbox"] = run_header(self.config, self.label_space, averaged)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Give layers and adapters what each had, before anyone reads the weights."""
        if self.adapter is not None:
            checkpoint["state_dict"] = joined(checkpoint["state_dict"], checkpoint[ADAPTER])


def planned_steps(trainer: pl.Trainer) -> tuple[int, int]:
    """Optimizer steps of the whole run, and of one epoch, without opening a loader.

    Lightning's own estimate would open it before a checkpoint is read, and a resumed run would then
    begin its epoch again.
    """
    batches: int = trainer.datamodule.train_batches  # type: ignore[attr-defined]
    limit = trainer.limit_train_batches
    # As in the trainer: a whole number counts batches, a fraction is a share of them.
    batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    per_epoch = max(1, math.ceil(batches / trainer.accumulate_grad_batches))
    total = per_epoch * trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else 0
    limits = [steps for steps in (total, trainer.max_steps) if steps > 0]
    return min(limits, default=per_epoch), per_epoch
