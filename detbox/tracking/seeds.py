"""Jobs that repeat each other, by seed or fold, as one row: mean and standard deviation."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detbox.messages import counted
from detbox.tracking.table import Row, keys_of, print_lines, varied_of

REPEATS = {"seed": "seeds", "data.fold": "folds", "data.split_seed": "split seeds"}
"""settings by which jobs repeat each other, and what several of their values are called"""


@dataclass(frozen=True)
class Spread:
    """One metric over the jobs that have it."""

    mean: float
    deviation: float | None
    """of the sample, with n - 1; None: a single figure"""
    count: int

    def __str__(self) -> str:
        """`mean ± deviation (n)`."""
        deviation = "" if self.deviation is None else f" ± {self.deviation:.2g}"
        return f"{self.mean:.4g}{deviation} ({self.count})"


@dataclass(frozen=True)
class Group:
    """The jobs of one setting."""

    overrides: dict[str, str]
    rows: Sequence[Row]

    def spread(self, metric: str) -> Spread | None:
        """Of a metric; None: no job has it."""
        figures = [row.metrics[metric] for row in self.rows if metric in row.metrics]
        if not figures:
            return None
        deviation = statistics.stdev(figures) if len(figures) > 1 else None
        return Spread(statistics.fmean(figures), deviation, len(figures))


def grouped(rows: Sequence[Row]) -> list[Group]:
    """One group per setting, in the order of their first jobs; empty where no two jobs share one.

    Jobs that failed count in their group, and in none of its figures.
    """
    found: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for row in rows:
        others = _not_repeated(row.overrides)
        found.setdefault(tuple(sorted(others.items())), []).append(row)
    if len(found) == len(rows):
        return []
    return [Group(_not_repeated(jobs[0].overrides), jobs) for jobs in found.values()]


def write_seeds(groups: Sequence[Group], path: Path) -> None:
    """All other settings, seeds and folds, and of every metric mean, deviation and count."""
    overrides = keys_of(each.overrides for each in groups)
    metrics = keys_of(row.metrics for each in groups for row in each.rows)
    heads = [f"{name}_{part}" for name in metrics for part in ("mean", "sd", "n")]
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        repeats = _repeats(groups)
        writer.writerow([*overrides, *(REPEATS[key] for key in repeats), *heads])
        for each in groups:
            told = [each.overrides.get(key, "") for key in overrides]
            values = [" ".join(row.overrides.get(key, "") for row in each.rows) for key in repeats]
            spreads = [each.spread(name) for name in metrics]
            figures = [cell for spread in spreads for cell in _cells(spread)]
            writer.writerow([*told, *values, *figures])


def print_seeds(groups: Sequence[Group], best: str, shown: Sequence[str]) -> None:
    """Print one line per setting; a star marks the highest mean of `best`.

    Args:
        groups: in printing order.
        best: name of a metric.
        shown: metrics to print, where any of them is there; else all are.
    """
    metrics = keys_of(row.metrics for each in groups for row in each.rows)
    metrics = [name for name in shown if name in metrics] or metrics
    varied = varied_of([each.overrides for each in groups])
    means = [spread.mean for each in groups if (spread := each.spread(best))]
    lines = []
    for each in groups:
        spreads = {name: each.spread(name) for name in metrics}
        figures = [_figure(spread, name == best, means) for name, spread in spreads.items()]
        lines.append([*(each.overrides.get(key, "") for key in varied), *figures])
    over = " and ".join(REPEATS[key] for key in _repeats(groups)) or "jobs"
    title = f"{counted(len(groups), 'setting')}, mean ± standard deviation (n) over {over}"
    print_lines(title, varied, metrics, lines)


def _repeats(groups: Sequence[Group]) -> list[str]:
    """By what the jobs repeat each other."""
    rows = [row.overrides for each in groups for row in each.rows]
    return [key for key in varied_of(rows) if key in REPEATS]


def _figure(spread: Spread | None, is_best: bool, means: Sequence[float]) -> str:
    if spread is None:
        return "–"
    star = " *" if is_best and spread.mean == max(means) else ""
    return f"{spread}{star}"


def _cells(spread: Spread | None) -> list[object]:
    if spread is None:
        return ["", "", 0]
    return [spread.mean, "" if spread.deviation is None else spread.deviation, spread.count]


def _not_repeated(overrides: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in overrides.items() if key not in REPEATS}
