"""docs/odd_inputs.md lists what is tried, and what its last writing saw."""

from __future__ import annotations

import re
from pathlib import Path

import odd_table
import pytest

TABLE = Path(__file__).parents[1] / "docs" / "odd_inputs.md"
ROW = re.compile(r"^\| (.*?) \| `(.*?)` \| (\w+) \| (-?\d+) \| (.*) \|$", re.MULTILINE)


def rows() -> dict[tuple[str, str], tuple[str, str]]:
    """(kind, member) -> exit status and what was said."""
    found = ROW.findall(TABLE.read_text(encoding="utf-8"))
    return {(kind, member): (code, told) for kind, member, _, code, told in found}


def test_the_table_lists_what_is_tried() -> None:
    tried = [(case.kind, odd_table._cell(case.member)) for case in odd_table.cases()]
    assert list(rows()) == tried


def test_no_command_ended_in_a_traceback_or_in_silence() -> None:
    for member, (code, told) in rows().items():
        assert "TRACEBACK" not in told, member
        assert code in ("0", "1", "130", "143", "-9"), member
        assert code in ("0", "-9") or told.startswith(("error: ", "stopped by")), member


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted({case.kind for case in odd_table.cases()}))
def test_what_the_table_says_of_one_of_each_kind_is_so(kind: str) -> None:
    case = next(case for case in odd_table.cases() if case.kind == kind)
    assert odd_table.row(case) in TABLE.read_text(encoding="utf-8").splitlines()
