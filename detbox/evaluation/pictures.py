"""A sheet of validation pictures with what was found and what there is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image

from detbox.boxes import box_scale, to_xyxy
from detbox.evaluation.drawing import contact_sheet, draw
from detbox.structures import Batch, Detections

COLUMNS = 4
LEGIBLE_SIDE = 320
"""pixels; of the pictures in a sheet"""


class ContactSheet(Callback):
    """Draw the first validation pictures into `folder/pictures.jpg`, ground truth dashed.

    Args:
        folder: of the run.
        names: of the classes.
        count: how many pictures.
        threshold: lowest score that is drawn.
    """

    def __init__(
        self, folder: Path, names: Sequence[str], count: int = 12, threshold: float = 0.3
    ) -> None:
        self.path = folder / "pictures.jpg"
        self.names = names
        self.count = count
        self.threshold = threshold
        self._pictures: list[Image.Image] = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: list[Detections],  # type: ignore[override]
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw, until there are enough."""
        missing = self.count - len(self._pictures)
        if trainer.is_global_zero and missing > 0:
            shown = enumerate(outputs[:missing])
            self._pictures += [self._draw(batch, image, found) for image, found in shown]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the sheet, over that of the validation before."""
        if self._pictures:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            contact_sheet(self._pictures, COLUMNS).save(self.path, quality=92)
        self._pictures = []

    def _draw(self, batch: Batch, image: int, found: Detections) -> Image.Image:
        pixels = batch.images.unpadded(image).cpu()
        size = box_scale(torch.tensor(pixels.shape[-2:]))
        scale = size / box_scale(batch.sizes[image].cpu())
        labels, boxes = (each.cpu() for each in batch.targets.of(image))
        here = Detections(found.boxes.cpu() * scale, found.scores.cpu(), found.labels.cpu())
        there = Detections(to_xyxy(boxes) * size, torch.ones(len(labels)), labels)
        return draw(
            pixels,
            here,
            self.names,
            threshold=self.threshold,
            truth=there,
            legible_side=LEGIBLE_SIDE,
        )
