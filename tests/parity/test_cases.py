"""Small models on given maps: each recorded tensor of a training or evaluation pass."""

from __future__ import annotations

from pathlib import Path

from parity.cases import check_case
from parity.report import Report


def test_every_tensor_of_a_case_is_reproduced(case_file: Path, report: Report) -> None:
    check_case(case_file, report)
    report.verify()
