"""Results of several jobs side by side, on the console and as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import get_console
from rich.console import Console
from rich.table import Table
from rich.text import Text

from detbox.messages import counted, printable


@dataclass(frozen=True)
class Row:
    """One job."""

    job: int
    overrides: dict[str, str]
    metrics: dict[str, float]
    error: str = ""
    """one line; empty where the job ended well"""


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """All overrides and metrics of all jobs, one line each, with its error if it failed."""
    overrides, metrics = keys_of(r.overrides for r in rows), keys_of(r.metrics for r in rows)
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(["job", *overrides, *metrics, "error"])
        for row in rows:
            told = [row.overrides.get(key, "") for key in overrides]
            found = [row.metrics.get(key, "") for key in metrics]
            writer.writerow([row.job, *told, *found, row.error])


def print_table(rows: Sequence[Row], best: str, shown: Sequence[str]) -> None:
    """Print one line per job, with the overrides that vary; a star marks the highest `best`.

    Args:
        rows: in printing order.
        best: name of a metric.
        shown: metrics to print, where any of them is there; else all are.
    """
    metrics = keys_of(row.metrics for row in rows)
    metrics = [name for name in shown if name in metrics] or metrics
    varied = varied_of([row.overrides for row in rows])
    highest = max((r.metrics[best] for r in rows if best in r.metrics), default=None)
    failed = any(row.error for row in rows)
    lines = []
    for row in rows:
        star = " *" if highest is not None and row.metrics.get(best) == highest else ""
        told = [row.overrides.get(key, "") for key in varied]
        found = [_figure(row, name, star if name == best else "") for name in metrics]
        lines.append([str(row.job), *told, *found, *([row.error] if failed else [])])
    title, last = counted(len(rows), "job"), ["failed"] if failed else []
    print_lines(title, varied, metrics, lines, first=["job"], last=last)


def print_lines(
    title: str,
    settings: Sequence[str],
    metrics: Sequence[str],
    lines: Sequence[Sequence[str]],
    *,
    first: Sequence[str] = (),
    last: Sequence[str] = (),
) -> None:
    """Print a table, whatever characters its cells have.

    Args:
        title: above it.
        settings: names of columns of text.
        metrics: names of columns of figures.
        lines: one cell per column, in the order first, settings, metrics, last.
        first: names of columns of figures before the settings.
        last: names of columns of text behind the metrics.
    """
    table = Table(title=title, title_justify="left")
    for name in (*first, *settings, *metrics, *last):
        is_text = name in settings or name in last
        table.add_column(Text(name), justify="left" if is_text else "right")
    for line in lines:
        table.add_row(*(Text(printable(cell)) for cell in line))
    _wide_console().print(table)


def keys_of(mappings: Iterable[dict[str, Any]]) -> list[str]:
    """All keys, in the order in which they first come."""
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def varied_of(overrides: Sequence[dict[str, str]]) -> list[str]:
    """The settings that are not the same everywhere."""
    return [key for key in keys_of(overrides) if len({each.get(key) for each in overrides}) > 1]


def _figure(row: Row, name: str, star: str) -> str:
    return f"{row.metrics[name]:.4g}{star}" if name in row.metrics else "–"


def _wide_console() -> Console:
    """The shared console, or one that does not fold a table in a log file."""
    console = get_console()
    return console if console.is_terminal else Console(file=console.file, width=240)
