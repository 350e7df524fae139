"""`console.log`: every line that was seen, once, as plain text, and how the command ended."""

from __future__ import annotations

import io
import os
import sys
import warnings
from pathlib import Path

import pytest
import rich
from rich.console import Console
from rich.table import Table

from detbox.console.bar import Bar
from detbox.console.lines import quiet, say
from detbox.console.record import Record, recorded
from detbox.errors import SettingError
from detbox.stopping import Stopped


def test_every_kind_of_line_is_kept_without_colours_and_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = io.StringIO()
    terminal = Console(force_terminal=True, width=80)
    monkeypatch.setattr(rich.get_console(), "__dict__", vars(terminal))
    monkeypatch.setattr(sys, "stdout", sent)
    monkeypatch.setattr(sys, "stderr", sent)
    table = Table("metric", title="[bold]COCO[/]", title_justify="left")
    with warnings.catch_warnings(), recorded(tmp_path, "detbox train"):
        warnings.simplefilter("always")
        quiet()
        say("12 images [/off] " + "x" * 90)
        bar = Bar()
        bar.open("epoch 1/2", 4)
        bar.tell("loss 3.5")
        say("above the bar")
        print("printed beside the bar", file=sys.stderr)
        warnings.warn("odd data", stacklevel=1)
        bar.close()
        print("\x1b[31mred\x1b[0m and", "plain")
        sys.stderr.write("\r 10%|#  |\r 50%|## |\r100%|###|\n")
        print()
        rich.get_console().print(table)
    shown = sent.getvalue()
    assert "\x1b[?25l" in shown  # a live bar was there
    assert shown.count("above the bar") == shown.count("red") == 1
    lines = (tmp_path / "console.log").read_text(encoding="utf-8").splitlines()
    assert lines[:8] == [
        "# detbox train",
        "12 images [/off] " + "x" * 90,
        "above the bar",
        "printed beside the bar",
        "warning: odd data",
        "red and plain",
        "100%|###|",
        "",
    ]
    assert lines[8].strip() == "COCO"
    assert not any("loss 3.5" in line or "epoch 1/2" in line for line in lines)
    assert sys.stdout is sent


def fail(folder: Path, error: BaseException) -> None:
    with recorded(folder, "again"):
        say("begun")
        raise error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SettingError("lr must be\nabove 0"), "error: lr must be\\nabove 0"),
        (Stopped(15, "at step 3"), "stopped by SIGTERM: at step 3"),
        (ZeroDivisionError("of ours"), "ZeroDivisionError: of ours"),
        (SystemExit(3), "begun"),
    ],
)
def test_a_run_that_goes_on_adds_to_it_and_its_end_is_told(
    tmp_path: Path, error: BaseException, told: str
) -> None:
    (tmp_path / "console.log").write_text("of before\n")
    with pytest.raises(type(error)):
        fail(tmp_path, error)
    text = (tmp_path / "console.log").read_text()
    assert text.startswith("of before\n\n# again\nbegun\n")
    assert text.splitlines()[-1] == told
    say("of another command")
    assert (tmp_path / "console.log").read_text() == text


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_ends_the_record_alone(capfd: pytest.CaptureFixture[str]) -> None:
    record = Record(Path("/dev/full"))
    record.add("lost")
    record.add("lost as well")
    record.close()
    assert capfd.readouterr() == ("", "")
