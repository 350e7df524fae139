"""A detector, a criterion and a module small enough to watch the callbacks around them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from detbox import build  # noqa: F401  (registers the callbacks)
from detbox.annotations import Split
from detbox.annotations.split import PackedStrings
from detbox.callbacks import RunContext
from detbox.criterion import LossTerms
from detbox.figures import ClassMetrics, CocoMetrics, Figures
from detbox.structures import (
    ENCODER,
    Batch,
    Detections,
    ImageBatch,
    LabelSpace,
    Origin,
    StepOutputs,
    Targets,
    Term,
)

SPACE = LabelSpace(("cat", "dog"), (1, 2))
FINAL = Origin(1, "match")
ORIGINS = (Origin(0, "match"), FINAL, Origin(1, "denoise"), ENCODER)


class ToyDetector(nn.Module):
    """One weight; sleeps to take a known time."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.seconds = seconds

    def forward(self, images: ImageBatch, targets: Targets | None = None) -> Tensor:
        time.sleep(self.seconds)
        return self.weight * images.pixels.float().mean() / 255


class ToyCriterion(nn.Module):
    """Two losses for each of four prediction sets."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, outputs: Tensor, targets: Targets) -> LossTerms:
        time.sleep(self.seconds)
        return LossTerms(
            Term(origin, loss, outputs.sum(), origin == FINAL)
            for origin in ORIGINS
            for loss in ("class", "l1")
        )


class ToyModule(pl.LightningModule):
    """The contract of `DetectionModule`, nothing else."""

    def __init__(self, forward: float = 0.0, loss: float = 0.0) -> None:
        super().__init__()
        self.detector = ToyDetector(forward)
        self.criterion = ToyCriterion(loss)
        self.label_space = SPACE

    def training_step(self, batch: Batch, batch_index: int) -> StepOutputs:
        terms = self.criterion(self.detector(batch.images, batch.targets), batch.targets)
        detached = tuple(term._replace(value=term.value.detach()) for term in terms.entries)
        return StepOutputs(loss=terms.total, terms=detached)

    def validation_step(  # type: ignore[override]
        self, batch: Batch, batch_index: int
    ) -> list[Detections]:
        self.detector(batch.images)
        return [detections(*size) for size in batch.sizes.tolist()]

    def configure_optimizers(self) -> Any:
        group = {"params": self.parameters(), "name": "backbone"}
        optimizer = torch.optim.SGD([group], lr=0.1)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
        config = {"scheduler": schedule, "interval": "step", "name": "lr"}
        return {"optimizer": optimizer, "lr_scheduler": config}


class ToyEvaluation(pl.Callback):
    """Stands for the COCO evaluation: logs an AP and leaves figures of two classes."""

    def __init__(self, figures: Figures | None = None) -> None:
        self.figures = figures or Figures()

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        classes = (ClassMetrics("cat", 1, 3, 0.25, 0.5), ClassMetrics("dog", 2, 4, 0.75, 1.0))
        self.figures.last = CocoMetrics._make([*[0.5] * 15, 4, 10, classes])
        pl_module.log_dict({"val/AP": 0.5, "val/AP50": 0.75, "val/AP50_nms": 0.875})


def context(folder: Path, loggers: Sequence[Logger] = (), *, training: bool = True) -> RunContext:
    """Of a run on the classes of the toys, whose validation split is empty."""
    nothing = np.zeros(0, np.int64)
    split = Split(
        source=folder / "none.json",
        folder=folder,
        label_space=SPACE,
        image_ids=nothing,
        sizes=np.zeros((0, 2), np.int64),
        names=PackedStrings(()),
        starts=np.zeros(1, np.int64),
        labels=nothing,
        boxes=np.zeros((0, 4)),
        areas=np.zeros(0),
        crowd=np.zeros(0, bool),
        learnt=np.zeros(0, bool),
        object_ids=nothing,
        outlined=np.zeros(0, bool),
        findings=(),
    )
    return RunContext(folder, 0, training, split, SPACE, loggers)


TRACKING = {
    key: {"name": key} for key in ("terms", "gradient_norm", "rates", "dashboard", "timing")
}
"""callbacks that measure and send"""


def detections(height: int, width: int) -> Detections:
    """One sure find over the left half of the image, one that is not."""
    boxes = torch.tensor([[0.0, 0.0, width / 2, height], [0.0, 0.0, width, height]])
    return Detections(boxes, torch.tensor([0.9, 0.1]), torch.tensor([1, 0]))


def batch(first_id: int = 0) -> Batch:
    """Two images, the second padded on the right and below; one and no object."""
    mask = torch.zeros(2, 8, 8, dtype=torch.bool)
    mask[1, 4:] = True
    mask[1, :, 6:] = True
    pixels = torch.full((2, 3, 8, 8), 200, dtype=torch.uint8) * ~mask[:, None]
    targets = Targets(torch.tensor([0]), torch.tensor([[0.5, 0.5, 0.5, 0.5]]), (1, 0))
    sizes = torch.tensor([[80, 80], [40, 60]])
    return Batch(ImageBatch(pixels, mask), targets, (first_id, first_id + 1), sizes)


def loader(batches: int) -> DataLoader:
    """A loader that yields `batch()`es."""
    return DataLoader([batch(2 * index) for index in range(batches)], batch_size=None)  # type: ignore[arg-type]


def trainer(folder: Path, **settings: Any) -> pl.Trainer:
    """A trainer without Lightning's own noise."""
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "max_epochs": 1,
        "log_every_n_steps": 1,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "enable_progress_bar": False,
        "default_root_dir": folder,
        "num_sanity_val_steps": 0,
    }
    return pl.Trainer(**{**defaults, **settings})


def grouped_network() -> nn.Module:
    """A backbone with a frozen stem, and an encoder whose two heads are one."""
    backbone = nn.ModuleDict({"stem": nn.Linear(2, 2), "stage": nn.Linear(2, 2)})
    backbone["stem"].requires_grad_(False)
    head = nn.Linear(2, 2)
    encoder = nn.ModuleDict({"sampling_offsets": nn.Linear(2, 2), "norm": nn.LayerNorm(2)})
    return nn.ModuleDict({"backbone": backbone, "encoder": encoder, "first": head, "last": head})
