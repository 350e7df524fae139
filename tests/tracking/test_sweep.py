"""The comparison table, by real Hydra multiruns in processes of their own."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from detbox.tracking.table import Row, print_table, write_csv

APP = """
import hydra
from detbox.figures import Result

@hydra.main(version_base=None, config_path=".", config_name="app")
def main(cfg):
    if cfg.lr < 0:
        raise ValueError(f"lr must be positive, got {cfg.lr} [see /docs]\\nsecond line")
    figures = {"AP": cfg.lr / 2 + cfg.seed / 100, "AP50": 0.5, "other": 1.0}
    return Result(figures, cfg.objective)

main()
"""
CONFIG = """
defaults:
  - _self_
  - search: null
  - override hydra/callbacks: comparison
objective: AP
lr: 0.1
seed: 0
hydra:
  searchpath: [pkg://detbox.conf]
  sweep: {dir: out}
"""


def sweep(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    (folder / "app.py").write_text(APP)
    (folder / "app.yaml").write_text(CONFIG)
    command = [sys.executable, "app.py", *overrides]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def titles(output: str) -> list[str]:
    return [line.strip() for line in output.splitlines() if line.strip().endswith(" jobs")]


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "out" / "sweep.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_all_jobs_come_into_one_table_with_the_best_marked(tmp_path: Path) -> None:
    result = sweep(tmp_path, "-m", "lr=0.2,0.4", "seed=1,2")
    assert result.returncode == 0, result.stderr
    rows = table(tmp_path)
    assert [(row["job"], row["lr"], row["seed"]) for row in rows] == [
        ("0", "0.2", "1"),
        ("1", "0.2", "2"),
        ("2", "0.4", "1"),
        ("3", "0.4", "2"),
    ]
    assert [float(row["AP"]) for row in rows] == pytest.approx([0.11, 0.12, 0.21, 0.22])
    assert [row["other"] for row in rows] == ["1.0"] * 4
    assert titles(result.stdout) == ["4 jobs"]
    best, best_mean = (line for line in result.stdout.splitlines() if "*" in line)
    assert "0.22 *" in best
    assert "0.215 ± 0.0071 (2) *" in best_mean
    assert len((tmp_path / "out" / "sweep_seeds.csv").read_text().splitlines()) == 3


@pytest.mark.slow
def test_a_failed_job_is_in_the_table_and_fails_the_sweep(tmp_path: Path) -> None:
    result = sweep(tmp_path, "-m", "lr=-1,0.4")
    assert result.returncode != 0
    failed, passed = table(tmp_path)
    assert failed["error"] == "ValueError: lr must be positive, got -1 [see /docs]"
    assert failed["AP"] == ""
    assert float(passed["AP"]) == pytest.approx(0.2)
    assert titles(result.stdout) == ["2 jobs"]
    assert "got -1 [see /docs]" in result.stdout


@pytest.mark.slow
def test_a_search_finds_the_largest_objective(tmp_path: Path) -> None:
    search = ("search=optuna", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2")
    draws = ("lr=interval(0.1,0.2)", "seed=0", "hydra/launcher=joblib")
    kept = ("hydra.sweeper.storage=sqlite:///study.db", "hydra.sweeper.study_name=lr")
    result = sweep(tmp_path, "-m", *search, *draws, *kept)
    assert result.returncode == 0, result.stderr
    tried = [float(row["AP"]) for row in table(tmp_path)]
    assert len(set(tried)) == 4
    found = OmegaConf.load(tmp_path / "out" / "optimization_results.yaml")
    assert found.best_value == pytest.approx(max(tried))
    assert (tmp_path / "study.db").is_file()
    assert found.best_params.lr == pytest.approx(2 * max(tried))


@pytest.mark.slow
def test_a_single_run_makes_no_table(tmp_path: Path) -> None:
    result = sweep(tmp_path, "lr=0.3", "hydra.run.dir=out")
    assert result.returncode == 0, result.stderr
    assert "job" not in result.stdout
    assert not list(tmp_path.rglob("result.json"))


def test_overrides_that_do_not_vary_are_only_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [Row(n, {"model": "dino", "seed": str(n)}, {"AP": 0.1}) for n in range(2)]
    print_table(rows, "AP", ("AP",))
    write_csv(rows, tmp_path / "sweep.csv")
    shown = capsys.readouterr().out
    assert "seed" in shown
    assert "model" not in shown
    assert "model" in (tmp_path / "sweep.csv").read_text()
