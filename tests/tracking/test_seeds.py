"""Jobs of one setting become one row."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path

import pytest

from detbox.tracking.seeds import grouped, print_seeds, write_seeds
from detbox.tracking.table import Row

ROWS = [
    Row(job, {"lr": lr, "seed": seed, "op": "cpu"}, {"AP": figure, "AP50": 0.5})
    for job, (lr, seed, figure) in enumerate(
        [("0.1", "0", 0.3), ("0.1", "1", 0.4), ("0.1", "2", 0.8), ("0.2", "0", 0.45)]
    )
]
FAILED = Row(4, {"lr": "0.2", "seed": "1", "op": "cpu"}, {}, error="out of memory")


def test_mean_and_spread_are_those_of_the_seeds_that_ended_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = grouped([*ROWS, FAILED])
    write_seeds(groups, tmp_path / "seeds.csv")
    with (tmp_path / "seeds.csv").open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["lr"], first["seeds"], first["AP_n"]) == ("0.1", "0 1 2", "3")
    assert float(first["AP_mean"]) == pytest.approx(0.5)
    assert float(first["AP_sd"]) == pytest.approx(statistics.stdev([0.3, 0.4, 0.8]))
    assert (second["AP_mean"], second["AP_sd"], second["AP_n"]) == ("0.45", "", "1")
    print_seeds(groups, "AP", ("AP",))
    told = capsys.readouterr().out
    assert "2 settings" in told
    assert "0.5 ± 0.26 (3) *" in told
    assert "0.45 (1) " in told
    assert "op" not in told.replace("mean ± standard deviation (n) over seeds", "")


def test_without_a_second_seed_there_is_nothing_to_average() -> None:
    assert grouped(ROWS[2:]) == []
    assert grouped([]) == []


def test_folds_are_averaged_as_seeds_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        Row(job, {"data.folds": "2", "data.fold": fold, "seed": seed}, {"AP": figure})
        for job, (fold, seed, figure) in enumerate(
            [("0", "0", 0.2), ("0", "1", 0.4), ("1", "0", 0.6), ("1", "1", 0.8)]
        )
    ]
    write_seeds(grouped(rows), tmp_path / "seeds.csv")
    assert (tmp_path / "seeds.csv").read_text().splitlines()[0].startswith("data.folds,folds,seeds")
    print_seeds(grouped(rows), "AP", ("AP",))
    told = " ".join(capsys.readouterr().out.split())
    assert "1 setting, mean ± standard deviation (n) over folds and seeds" in told
    assert "0.5 ± 0.26 (4)" in told
    print_seeds(grouped(rows[::2]), "AP", ("AP",))
    assert "(n) over folds ┏" in " ".join(capsys.readouterr().out.split())
