"""One of each kind that design.md's table counts: each is a function or class and its line."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import WeightAveraging
from omegaconf import DictConfig
from safetensors.torch import save_model
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

import detbox
from detbox.annotations.coco import read_coco
from detbox.annotations.formats import Format, Source
from detbox.annotations.split import Split
from detbox.build import build_data
from detbox.callbacks import RunContext, Stage, register_callback
from detbox.commands.table import register_command
from detbox.data.transforms import View
from detbox.matchers.cost import CostMatcher, FocalBoxCost
from detbox.models.detector import Detector, Neck
from detbox.models.dn_detr import dn_detr
from detbox.models.query_groups import with_group
from detbox.registry import AUGMENTATIONS, FORMATS, MATCHERS, MODELS
from detbox.structures import Queries, QueryGroup, Targets


@register_callback("example_ema", Stage.SAVING)
def example_ema(context: RunContext, *, decay: float = 0.99) -> list[WeightAveraging]:
    """A moving average of the weights, which is what gets validated."""
    average = WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(decay))
    return [average] if context.training else []


@FORMATS.register("example_listing")
def example_listing() -> Format:
    """A folder `SPLIT` with pictures and `boxes.listing`, which is COCO's JSON by another name."""

    def find(root: Path, split: str) -> Source | None:
        file = root / split / "boxes.listing"
        return Source(file.parent, file) if file.is_file() else None

    def read(source: Source) -> Split:
        return read_coco(source)

    return Format("SPLIT/boxes.listing", find, lambda root: None, read)


@AUGMENTATIONS.register("example_noise")
def example_noise(view: View, random: np.random.Generator, *, spread: float = 8.0) -> View:
    """Add grain."""
    grain = torch.from_numpy(random.normal(0, spread, view.image.shape))
    noisy = (view.image + grain).clamp(0, 255).to(torch.uint8)
    return view._replace(image=type(view.image)(noisy))


def greedy(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cheapest pair again and again, on the device if it were a tensor."""
    cost, rows, columns = cost.copy(), [], []
    for _ in range(min(cost.shape)):
        row, column = np.unravel_index(cost.argmin(), cost.shape)
        rows.append(row)
        columns.append(column)
        cost[row], cost[:, column] = np.inf, np.inf
    return np.array(rows, dtype=np.int64), np.array(columns, dtype=np.int64)


@MATCHERS.register("example_greedy", scores="sigmoid")
def example_greedy(*, class_weight: float = 2.0) -> CostMatcher:
    """Pairs by cost alone."""
    return CostMatcher(FocalBoxCost(class_weight), greedy)


class OneToMany(nn.Module):
    """More queries in training, which find every target several times (H-DETR, sec. 3.1)."""

    def __init__(
        self, others: Callable[[Queries, Targets], Queries], count: int, dim: int, repeats: int
    ) -> None:
        super().__init__()
        self.others = others
        self.content = nn.Embedding(count, dim)
        self.anchors = nn.Embedding(count, 4)
        self.group = QueryGroup("hybrid", count, repeats=repeats)

    def forward(self, queries: Queries, targets: Targets) -> Queries:
        """Beside the denoising queries."""
        batch = len(queries.content)
        content = self.content.weight.expand(batch, -1, -1)
        anchors = self.anchors.weight.expand(batch, -1, -1)
        return with_group(self.others(queries, targets), content, anchors, self.group)


@MODELS.register("example_hybrid", scores="sigmoid")
def example_hybrid(
    backbone: nn.Module, neck: Neck, num_classes: int, *, num_queries: int = 8, repeats: int = 2
) -> Detector:
    """DN-DETR with a one-to-many branch."""
    sizes: Any = {"encoder_layers": 1, "decoder_layers": 2, "num_heads": 4, "feedforward_dim": 32}
    detector = dn_detr(backbone, neck, num_classes, num_queries=num_queries, **sizes)
    assert detector.denoiser is not None
    detector.denoiser = OneToMany(detector.denoiser, repeats * num_queries, neck.channels, repeats)
    return detector


@register_command("example_export")
def example_export(cfg: DictConfig, folder: Path, *, ckpt: str) -> None:
    """Write a detector's tensors as safetensors."""
    save_model(detbox.load(ckpt, "cpu").detector, str(folder / "model.safetensors"))


@register_command("example_report")
def example_report(cfg: DictConfig, folder: Path, *, run: str) -> None:
    """Write the last figures of a run as a page."""
    with (Path(run) / "metrics.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("val/AP")]
    (folder / "report.html").write_text(f"<p>AP {float(rows[-1]['val/AP']):.3f}</p>")


@register_command("example_check")
def example_check(cfg: DictConfig, folder: Path) -> None:
    """Count what there is to learn from."""
    split = build_data(cfg).train
    (folder / "check.txt").write_text(f"{split.num_images} images, {split.num_boxes} boxes")
