"""The `--goldens` option, one test per recording, and the summary at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from parity.folders import KINDS, OWN, label, of_kind, of_later, recordings
from parity.report import Report

ABSENT = pytest.param(None, marks=pytest.mark.skip(reason="no such recording in the folder"))
REPORTS = pytest.StashKey[list[Report]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register `--goldens`."""
    parser.addoption(
        "--goldens",
        action="append",
        metavar="FOLDER",
        help="recordings to replay, searched with its sub-folders; may be repeated "
        "(default: the compact set of the repository and, where they are, the shared variants)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Turn each recording into a test of its kind."""
    files = recordings(_folders(metafunc.config))
    for kind in KINDS:
        if kind in metafunc.fixturenames:
            chosen: Sequence[object] = of_kind(kind, files) or [ABSENT]
            metafunc.parametrize(kind, chosen, ids=_label)


@pytest.fixture
def golden_files(request: pytest.FixtureRequest) -> list[Path]:
    """All data files of the chosen folders."""
    return recordings(_folders(request.config))


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """The report of a test's file; it joins the summary."""
    fresh = Report(request.node.callspec.id)
    request.config.stash.setdefault(REPORTS, []).append(fresh)
    return fresh


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print what was compared; every tensor where the recordings were named by `--goldens`."""
    reports = config.stash.get(REPORTS, [])
    if not reports:
        return
    terminalreporter.section("parity with the official implementation")
    detailed = config.getoption("--goldens", default=None) is not None
    for each in reports:
        terminalreporter.write_line(each.summary())
        for line in [*each.remarks(), *(each.table() if detailed else ())]:
            terminalreporter.write_line(f"  {line}")
    checked, unknown = (sum(len(x) for x in y) for y in zip(*map(_counted, reports), strict=True))
    terminalreporter.write_line(f"{checked} tensors checked, {unknown} unknown")
    later = [label(path) for path in recordings(_folders(config)) if of_later(path)]
    if later:
        terminalreporter.write_line(f"not of this issue, {len(later)} files: {', '.join(later)}")


def _label(path: Path | None) -> str:
    return label(path) if path else "none"


def _counted(report: Report) -> tuple[list, list]:
    return report.checks, report.unknown


def _folders(config: pytest.Config) -> list[Path]:
    # Absent where the option was not known yet, because pytest started in a folder above.
    chosen = config.getoption("--goldens", default=None)
    return [Path(each) for each in chosen] if chosen else OWN
