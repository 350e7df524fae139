"""`curves.png`: the figures of `metrics.csv` that tell how a training goes, in one picture."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import lightning.pytorch as pl

from detbox.tracking.metrics_file import Line, read_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNDEFINED = -1.0
"""what COCO's figures are where there is nothing to find"""
MARKED = 60
"""points up to which each one is marked"""
NAMED = 8
"""curves of a graph up to which each one is named"""

log = logging.getLogger(__name__)


class Graph(NamedTuple):
    """One of the picture's parts."""

    title: str
    curves: tuple[str, ...]
    """figures, or with `*` at the end the beginning of some"""
    logarithmic: bool = False
    free: Literal["upper right", "lower right"] = "upper right"
    """corner where the curves are not, for their names"""


GRAPHS = (
    Graph("loss", ("train/loss", "val/loss")),
    Graph("AP", ("val/AP", "val/AP50", "val_raw/AP", "val_raw/AP50"), free="lower right"),
    Graph("learning rate", ("lr/*",), logarithmic=True),
    Graph("gradient norm before clipping", ("train/grad_norm",), logarithmic=True),
)


class CurvesFile(pl.Callback):
    """Draw `folder/curves.png` after validations and when a run ends, from `metrics.csv` alone.

    So a run that goes on has one picture of all its steps. What fails is said once, and no training
    ends for it.

    Args:
        folder: of the run.
        every_seconds: the least time from one drawing to the next while the run trains.
    """

    def __init__(self, folder: Path, every_seconds: float = 30.0) -> None:
        self.folder = folder
        self.every_seconds = every_seconds
        self._drawn_at = time.monotonic()
        self._failed = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw, unless the last one is young; a validation that is no part of a fit is the end."""
        is_due = time.monotonic() - self._drawn_at >= self.every_seconds
        if not trainer.sanity_checking and (is_due or trainer.state.fn != "fit"):
            self._draw(trainer)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the whole run."""
        self._draw(trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Draw how far a run came that was stopped or failed."""
        self._draw(trainer)

    def _draw(self, trainer: pl.Trainer) -> None:
        if not trainer.is_global_zero or self._failed:
            return
        try:
            if lines := read_lines(self.folder / "metrics.csv"):
                draw(lines, self.folder / "curves.png")
        except Exception as error:  # of many kinds: no package, no disk, a configuration of its own
            self._failed = True
            log.warning("curves.png cannot be drawn, and the training goes on: %s", error)
        self._drawn_at = time.monotonic()


def draw(lines: Sequence[Line], path: Path) -> None:
    """Write the picture in one go, over the one before.

    Raises:
        ImportError: there is no matplotlib.
        OSError: the file cannot be written.
    """
    # The two classes alone: pyplot would look for a screen and keep every figure.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # of its cache of fonts
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7.5), dpi=100)
    FigureCanvasAgg(figure)
    margins = {"left": 0.07, "right": 0.985, "top": 0.95, "bottom": 0.07, "hspace": 0.25}
    axes = figure.subplots(2, 2, gridspec_kw=margins)
    for graph, each in zip(GRAPHS, axes.flat, strict=True):
        _plot(graph, lines, each)
    partial = path.with_name(f"{path.name}.tmp")
    figure.savefig(partial, format="png")
    os.replace(partial, path)


def _plot(graph: Graph, lines: Sequence[Line], axes: Axes) -> None:
    names = sorted({name for line in lines for name in line.figures if _is_shown(name, graph)})
    for name in names:
        points = [(line.step + 1, line.figures[name]) for line in lines if name in line.figures]
        drawn = [point for point in points if point[1] != UNDEFINED]
        marker = "." if len(drawn) <= MARKED else ""
        axes.plot([x for x, _ in drawn], [y for _, y in drawn], marker=marker, lw=1.2, label=name)
    axes.set_title(graph.title, fontsize=11)
    axes.set_xlabel("optimizer steps", fontsize=9)
    axes.grid(alpha=0.3)
    if graph.logarithmic:
        axes.set_yscale("log")
    if 0 < len(names) <= NAMED:
        axes.legend(fontsize=8, loc=graph.free)


def _is_shown(name: str, graph: Graph) -> bool:
    return any(
        name.startswith(curve[:-1]) if curve.endswith("*") else name == curve
        for curve in graph.curves
    )
