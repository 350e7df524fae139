"""Lines of the console: users' text is printed, never obeyed, on any terminal."""

from __future__ import annotations

import io
import sys

import pytest
import rich
from odd_names import ODD_CLASSES
from rich.console import Console

from detbox.console.bar import Bar
from detbox.console.lines import quiet, say


@pytest.mark.parametrize("name", ODD_CLASSES)
def test_no_text_breaks_a_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding in ("utf-8", "ascii", "cp1252"):
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
        quiet()
        say(f"before {name} after")
        sys.stdout.flush()
        told = raw.getvalue().decode(encoding)
        assert told.startswith("before ")
        assert told.endswith(" after\n")
        if name.isascii() and name.isprintable():
            assert name in told


def test_text_beside_a_bar_is_printed_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    terminal = Console(file=file, force_terminal=True, width=120)
    monkeypatch.setattr(rich.get_console(), "__dict__", vars(terminal))
    bar = Bar()
    bar.open("epoch [/off]", 2)
    bar.tell("[red] 0.5 [/]")
    bar.open("validation", 1)
    bar.close()
    assert "epoch [/off]" in file.getvalue()
    assert "[red] 0.5 [/]" in file.getvalue()
