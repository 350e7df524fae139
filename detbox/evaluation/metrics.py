"""The figures of a COCO evaluation, and how they are shown."""

from __future__ import annotations

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from detbox.figures import OFFICIAL, ClassMetrics, CocoMetrics
from detbox.messages import counted, printable

UNDEFINED = -1.0
"""pycocotools' value where there is no object to find"""


_MEANING = {
    "AP": ("0.50:0.95", "all", 100),
    "AP50": ("0.50", "all", 100),
    "AP75": ("0.75", "all", 100),
    "AP_small": ("0.50:0.95", "below 32²", 100),
    "AP_medium": ("0.50:0.95", "32² to 96²", 100),
    "AP_large": ("0.50:0.95", "above 96²", 100),
    "AR1": ("0.50:0.95", "all", 1),
    "AR10": ("0.50:0.95", "all", 10),
    "AR100": ("0.50:0.95", "all", 100),
    "AR_small": ("0.50:0.95", "below 32²", 100),
    "AR_medium": ("0.50:0.95", "32² to 96²", 100),
    "AR_large": ("0.50:0.95", "above 96²", 100),
    "AP50_nms": ("0.50", "all", 100),
    "AP_all": ("0.50:0.95", "all", 0),
    "AR_all": ("0.50:0.95", "all", 0),
}
"""IoU, area in square pixels and detections of a class in an image of each figure; 0: all"""


def mean(values: np.ndarray) -> float:
    """Over what is defined, as pycocotools does it."""
    defined = values[values > UNDEFINED]
    return float(defined.mean()) if defined.size else UNDEFINED


def tables(metrics: CocoMetrics) -> Group:
    """The 12 numbers and one row per class, to be printed by a rich console."""
    limit = f", {OFFICIAL} detections" if metrics.most > OFFICIAL else ""
    return Group(_summary(metrics), _per_class(metrics.classes, f"Per class{limit}"))


def _summary(metrics: CocoMetrics) -> Table:
    title = f"COCO evaluation, {counted(metrics.images, 'image')}"
    table = _table(title, "metric", "IoU", "area")
    for heading in ("detections", "value"):
        table.add_column(heading, justify="right")
    for name, figure in metrics.scalars().items():
        iou, area, detections = _MEANING[name]
        if detections or metrics.most > OFFICIAL:  # else they are the official ones
            limit = str(detections or f"all {metrics.most}")
            table.add_row(name, iou, area, limit, _show(figure))
    return table


def _per_class(classes: tuple[ClassMetrics, ...], title: str, rows: int = 30) -> Table:
    """Two classes per row where there are more than `rows`."""
    columns = 1 if len(classes) <= rows else 2
    height = -(-len(classes) // columns)
    table = _table(title)
    for _ in range(columns):
        table.add_column("class", no_wrap=True, max_width=18)
        for heading in ("boxes", "AP", "AP50"):
            table.add_column(heading, justify="right", no_wrap=True, min_width=5)
    for row in range(height):
        line = [_cells(entry) for entry in classes[row::height]]
        table.add_row(*(cell for cells in line for cell in cells))
    return table


def _table(title: str, *headings: str) -> Table:
    return Table(*headings, title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)


def _cells(entry: ClassMetrics) -> tuple[Text, str, str, str]:
    return Text(printable(entry.name)), str(entry.boxes), _show(entry.AP), _show(entry.AP50)


def _show(figure: float) -> str:
    return "–" if figure == UNDEFINED else f"{figure:.3f}"
