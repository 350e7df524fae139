"""The folder as a whole: no recording may be passed over in silence."""

from __future__ import annotations

from pathlib import Path

from parity.folders import label, unclaimed


def test_every_recording_has_a_test_that_answers_for_it(golden_files: list[Path]) -> None:
    assert golden_files
    assert [label(path) for path in unclaimed(golden_files)] == []
