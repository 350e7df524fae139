"""The table of a sweep, whatever was swept over."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from odd_names import ODD_CLASSES, ODD_NAMES

from detbox.messages import printable
from detbox.tracking.table import Row, print_table, write_csv


@pytest.mark.parametrize("name", [*ODD_CLASSES, *ODD_NAMES])
def test_settings_are_shown_as_they_were_typed(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = "+optimizer.lr_factors.[/x]"
    rows = [Row(0, {key: name}, {"AP": 0.5}), Row(1, {key: "other"}, {}, error=f"no {name}")]
    print_table(rows, "AP", ["AP"])
    told = capsys.readouterr().out
    assert key in told
    if len(name) < 100:
        assert printable(name).strip() in told
    write_csv(rows, tmp_path / "sweep.csv")
    with (tmp_path / "sweep.csv").open(encoding="utf-8", newline="") as file:
        first, _ = csv.DictReader(file)
    assert first[key] == name.encode("utf-8", "backslashreplace").decode()
