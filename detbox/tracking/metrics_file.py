"""`metrics.csv`, which a run that goes on in its folder adds to."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.core.saving import save_hparams_to_yaml
from lightning.pytorch.loggers.csv_logs import CSVLogger, ExperimentWriter
from lightning_utilities.core.rank_zero import rank_zero_only

from detbox.tracking.resumed import Once


class Line(NamedTuple):
    """A row of the file."""

    step: int
    figures: dict[str, float]


class MetricsFile(CSVLogger):
    """Lightning's logger, which would delete the file of a run that goes on.

    Args:
        folder: of the run.
        resumed_at: optimizer steps behind which a run goes on; None: it is new.
    """

    def __init__(self, folder: Path, resumed_at: int | None = None) -> None:
        super().__init__(folder, name="", version="")
        path = folder / "metrics.csv"
        self.resumed_at = resumed_at
        self.before = [] if resumed_at is None else _kept(path, resumed_at)
        """rows of steps that are not done again"""
        # The last step is done, the validation behind it perhaps not, though its row may be there.
        last = (each for each in self.before if each.step == (resumed_at or 0) - 1)
        self._once = Once((each.step, name) for each in last for name in each.figures)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Add a row of what the file does not have."""
        if new := self._once(metrics, step):
            super().log_metrics(new, step)

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """What writes the file."""
        writer = self._experiment
        if not isinstance(writer, _Writer):
            writer = self._experiment = _Writer(self.log_dir)
        return writer


class _Writer(ExperimentWriter):
    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        path = Path(self.metrics_file_path)
        self.metrics_keys = list(_read(path)[0]) if path.is_file() else []

    def log_hparams(self, params: dict[str, Any]) -> None:
        """Keep the settings as plain YAML; OmegaConf would read `${` in a path as its own."""
        self.hparams.update(params)
        file = Path(self.log_dir) / self.NAME_HPARAMS_FILE
        save_hparams_to_yaml(file, self.hparams, use_omegaconf=False)

    def _check_log_dir_exists(self) -> None:
        """Nothing is deleted."""

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        path = Path(self.metrics_file_path)
        _write(path, fieldnames, _read(path)[1])


def read_lines(path: Path) -> list[Line]:
    """The rows of a file that may just be written; none where there is no file."""
    return [_figures(row) for row in _read(path)[1]] if path.is_file() else []


def _kept(path: Path, step: int) -> list[Line]:
    """Drop the rows of steps that a run which goes on from `step` will do again; gives the rest."""
    if not path.is_file():
        return []
    header, rows = _read(path)
    rows = [row for row in rows if int(row["step"]) < step]
    _write(path, header, rows)
    return [_figures(row) for row in rows]


def _figures(row: Mapping[str, str]) -> Line:
    figures = {name: float(text) for name, text in row.items() if text and name != "step"}
    return Line(int(row["step"]), figures)


def _read(path: Path) -> tuple[Sequence[str], list[dict[str, Any]]]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        whole = [row for row in reader if None not in row.values()]  # a killed run's last is not
        return reader.fieldnames or (), whole


def _write(path: Path, header: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """In one go, so that a run that is killed meanwhile loses nothing."""
    partial = path.with_name(f"{path.name}.tmp")
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=header)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, path)
