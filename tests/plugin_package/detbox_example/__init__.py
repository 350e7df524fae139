"""Parts of every kind, as somebody who installed detbox with pip would add them."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from detbox.callbacks import RunContext, Stage, register_callback
from detbox.data.builders import shapes
from detbox.data.dataset import DataSet
from detbox.models.detector import Detector, Neck
from detbox.models.detr import detr
from detbox.official.detr import ENCODER
from detbox.official.registry import Layout, Rules, register_layout
from detbox.postprocess import SoftmaxPostprocess
from detbox.registry import BACKBONES, DATA, LOSSES, MODELS, POSTPROCESSES
from detbox.structures import Detections, Matches, PredictionSet, Targets
from detbox_example import rooms

__all__ = ["rooms"]


class Patches(nn.Module):
    """One map of H / 16 x W / 16 cells of pictures that are padded to multiples of 32."""

    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    size_divisor = 32

    def __init__(self, width: int) -> None:
        super().__init__()
        self.channels, self.strides = (width,), (16,)
        self.patches = nn.Conv2d(3, width, 17, 16, padding=8)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) to one map."""
        return (self.patches(pixels).relu(),)


@BACKBONES.register("example_patches")
def example_patches(*, width: int = 32, weights: str | None = None) -> Patches:
    """Build it; detbox reads the file of `weights`, by the names here."""
    return Patches(width)


@MODELS.register("example_detr", scores="softmax")
def example_detr(
    backbone: nn.Module, neck: Neck, num_classes: int, *, num_queries: int = 8
) -> Detector:
    """A small DETR."""
    sizes: Any = {"encoder_layers": 1, "decoder_layers": 2, "num_heads": 4, "feedforward_dim": 32}
    return detr(backbone, neck, num_classes, num_queries=num_queries, **sizes)


@LOSSES.register("example_center", scores=None)
def example_center(predictions: PredictionSet, targets: Targets, matches: Matches) -> Tensor:
    """Sum of distances between the centres of matched boxes."""
    found = predictions.boxes[matches.image, matches.query, :2]
    return (found - targets.boxes[matches.target, :2]).abs().sum()


@DATA.register("example_shapes")
def example_shapes(*, pictures: int = 6) -> DataSet:
    """A few small drawn pictures."""
    return shapes(image_size=64, train_images=pictures, val_images=4, batch_size=2)


@POSTPROCESSES.register("example_best", scores="softmax")
def example_best(*, count: int = 3) -> Any:
    """The few best detections of each picture."""
    whole = SoftmaxPostprocess()

    def best(prediction: PredictionSet, sizes: Tensor) -> list[Detections]:
        everything = whole(prediction, sizes)
        return [
            Detections(each.boxes[:count], each.scores[:count], each.labels[:count])
            for each in everything
        ]

    return best


class StepCounter(pl.Callback):
    """Write how many steps were trained."""

    def __init__(self, context: RunContext, file: str) -> None:
        self.path = context.folder / file

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the file."""
        self.path.write_text(f"{trainer.global_step} steps, torch {torch.__version__}")


@register_callback("example_counter", Stage.DISPLAY)
def example_counter(context: RunContext, *, file: str = "steps.txt") -> list[pl.Callback]:
    """In a training run only."""
    return [StepCounter(context, file)] if context.training else []


NAMES: Rules = (
    *ENCODER,
    (r"query_source\.position\.", ("slots.",)),
    (r"decoder\.layers\.", ("blocks.",)),
    (r"decoder\.norm\.", ("last_norm.",)),
    (r"decoder\.heads\.(class|box)_head\.", (r"\1.",)),
)
"""of another code base of DETR; rank: `to=official` goes on to write DETR's own"""
register_layout("example_lab", Layout(NAMES, "eyes.{}".format, rank=1))
