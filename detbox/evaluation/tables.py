"""Curves, confusions and worst pictures as CSV files and pictures in a run folder."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from detbox.evaluation.curves import RECALLS, Curve
from detbox.evaluation.metrics import UNDEFINED
from detbox.messages import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BACKGROUND = "(background)"
NAMED = 12
"""classes up to which each curve has its name, and each cell its number"""
LABELLED = 60
"""classes up to which rows and columns have their names"""
SHORT = 20
"""characters of a name in a picture"""


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table, in UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def write_curves(path: Path, curves: Sequence[Curve], names: Sequence[str]) -> None:
    """One row per class and recall; classes without objects have none."""
    rows = (
        (name, f"{recall:.2f}", f"{precision:.6g}", f"{score:.6g}")
        for name, curve in zip(names, curves, strict=True)
        for recall, precision, score in zip(RECALLS, *curve, strict=True)
        if precision != UNDEFINED
    )
    write_csv(path, ("class", "recall", "precision", "score"), rows)


def write_confusion(path: Path, matrix: np.ndarray, names: Sequence[str]) -> None:
    """True classes downwards, found ones to the right."""
    every = [*names, BACKGROUND]
    rows = ((name, *row) for name, row in zip(every, matrix.tolist(), strict=True))
    write_csv(path, ("true \\ found", *every), rows)


def draw_curves(path: Path, curves: Sequence[Curve], names: Sequence[str]) -> None:
    """All curves and their mean, whose area is AP50."""
    figure = _figure(7, 6)
    axes = figure.subplots()
    shown = [(n, c) for n, c in zip(names, curves, strict=True) if c.precision[0] != UNDEFINED]
    few = len(shown) <= NAMED
    for _, curve in shown:
        axes.plot(RECALLS, curve.precision, lw=1.2 if few else 0.5, alpha=1.0 if few else 0.4)
    lines, labels = list(axes.lines) if few else [], [name for name, _ in shown] if few else []
    if shown:
        mean = np.mean([curve.precision for _, curve in shown], axis=0)
        lines += axes.plot(RECALLS, mean, color="black", lw=2.2)
        labels.append(f"all: AP50 {mean.mean():.3f}")
        legend = axes.legend(lines, ["?"] * len(lines), fontsize=8, loc="lower left")
        for text, label in zip(legend.get_texts(), labels, strict=True):
            text.set_text(_short(label))  # only now: a first "_" would leave it out
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision, IoU 0.5")
    axes.grid(alpha=0.3)
    _save(figure, path)


def draw_confusion(path: Path, matrix: np.ndarray, names: Sequence[str], threshold: float) -> None:
    """Each row as shares of its objects, with numbers where there is room."""
    side = min(20.0, 4.5 + 0.3 * len(matrix))
    figure = _figure(side + 1, side)
    axes = figure.subplots()
    totals = matrix.sum(1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    figure.colorbar(axes.imshow(shares, cmap="Blues", vmin=0, vmax=1), fraction=0.046, pad=0.03)
    axes.set(xlabel="found", ylabel="true", title=f"IoU 0.5, scores from {threshold:.2f}")
    if len(matrix) <= NAMED + 1:
        for (row, column), number in np.ndenumerate(matrix):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(number), ha="center", va="center", fontsize=8, color=color)
    if len(matrix) <= LABELLED + 1:
        places = range(len(matrix))
        labels = [_short(name) for name in (*names, BACKGROUND)]
        axes.set_xticks(places, labels=labels, rotation=90, fontsize=8)
        axes.set_yticks(places, labels=labels, fontsize=8)
    _save(figure, path)


def drawable(names: Sequence[str], ids: Sequence[int]) -> list[str]:
    """The names, but the category's id where matplotlib's own font lacks a character."""
    from matplotlib.font_manager import findfont, get_font

    font = get_font(findfont("DejaVu Sans"))
    told = [(printable(name), number) for name, number in zip(names, ids, strict=True)]
    return [n if all(map(font.get_char_index, map(ord, n))) else str(i) for n, i in told]


def _short(name: str) -> str:
    """A name that fits, and is no formula."""
    short = name if len(name) <= SHORT else name[: SHORT - 1] + "…"
    return short.replace("$", "\\$")


def _figure(width: float, height: float) -> Figure:
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # of its cache of fonts
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=100, layout="constrained")


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")
