"""Progress: plain lines off a terminal, one lasting line per epoch, time left."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rich
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from rich.console import Console
from training_toys import ToyEvaluation, ToyModule, loader, trainer

from detbox.console.lines import quiet
from detbox.console.meter import Forecast, Means, Speed, clock
from detbox.console.progress import ConsoleProgress
from detbox.structures import Origin, Term

EPOCH = re.compile(
    r"epoch (\d)/2  loss \S+ = final \S+ \(class \S+ l1 \S+\) \+ \S+ in 3 auxiliary sets  "
    r"AP 0\.500  AP50 0\.750  with NMS 0\.875  lr \S+  \d+ pictures? a step  \d+\.\d GiB  "
    r"\S+ images/s  0:00:\d\d  ETA 0:00:\d\d"
)


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Console]:
    """Rich's shared console, on a terminal that keeps what it was sent."""
    monkeypatch.setenv("TERM", "xterm")
    console = rich.get_console()
    state = dict(vars(console))
    terminal = Console(file=io.StringIO(), force_terminal=True, width=160)
    vars(console).update(vars(terminal))
    yield console
    vars(console).clear()
    vars(console).update(state)


def fit(folder: Path, **settings: Any) -> None:
    quiet()
    defaults = {"callbacks": [ToyEvaluation(), ConsoleProgress(every=2)], "max_epochs": 2}
    run = trainer(folder, enable_progress_bar=True, **{**defaults, **settings})
    run.fit(ToyModule(), loader(4), loader(2))


def test_off_a_terminal_each_line_stands_for_itself(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fit(tmp_path)
    shown = capfd.readouterr().out.splitlines()
    assert len(shown) == 6
    step = r"epoch 1/2  step 2/4  loss \S+ = final .* auxiliary sets  \S+ images/s  ETA 0:00:\d\d"
    assert re.fullmatch(step, shown[0])
    for number, line in ((1, shown[2]), (2, shown[5])):
        found = EPOCH.fullmatch(line)
        assert found is not None, line
        assert int(found[1]) == number


def test_on_a_terminal_only_the_lines_of_the_epochs_stay(tmp_path: Path, shared: Console) -> None:
    fit(tmp_path)
    assert isinstance(shared.file, io.StringIO)
    sent = shared.file.getvalue()
    assert "\x1b[?25l" in sent  # a live bar was there
    assert sent.endswith("\x1b[?25h") or sent.rstrip().endswith("ETA 0:00:00")
    assert len(EPOCH.findall(sent)) == 2
    assert "\nepoch 1/2  step" not in sent


def test_epoch_without_validation_shows_no_stale_figures(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fit(tmp_path, check_val_every_n_epoch=2)
    first, second = (s for s in capfd.readouterr().out.splitlines() if "  step " not in s)
    assert "AP" not in first
    assert "AP 0.500" in second


def test_a_run_resumed_behind_the_last_batch_of_an_epoch_goes_on_with_the_next(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    saving = ModelCheckpoint(tmp_path, filename="end", save_on_train_epoch_end=False)
    fit(tmp_path, max_epochs=1, callbacks=[ToyEvaluation(), saving], enable_checkpointing=True)
    capfd.readouterr()
    both = {"callbacks": [ToyEvaluation(), ConsoleProgress(every=2), saving]}
    run = trainer(
        tmp_path, max_epochs=2, enable_progress_bar=True, enable_checkpointing=True, **both
    )
    run.fit(ToyModule(), loader(4), loader(2), ckpt_path=str(tmp_path / "end.ckpt"))
    assert re.findall(r"^epoch (\d)/2  loss", capfd.readouterr().out, re.MULTILINE) == ["2"]


def test_terminal_is_given_back_after_a_failure(
    tmp_path: Path, shared: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ToyModule, "validation_step", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit(tmp_path)
    assert isinstance(shared.file, io.StringIO)
    sent = shared.file.getvalue()
    hidden, shown = sent.rfind("\x1b[?25l"), sent.rfind("\x1b[?25h")
    assert 0 <= hidden < shown  # the cursor


def test_other_ranks_print_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    progress = ConsoleProgress(every=1)
    progress.disable()
    fit(tmp_path, callbacks=[progress])
    assert capfd.readouterr().out == ""


def test_time_left_counts_only_batches_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    forecast = Forecast(done=900, total=1000)
    assert forecast.left(900) == "?"
    now[0] += 10.0
    assert forecast.left(910) == clock(90.0) == "0:01:30"
    assert Forecast(0, float("inf")).left(5) == "?"


def test_speed_leaves_out_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    speed = Speed()
    speed.add(10)
    now[0] = 2.0
    speed.pause()
    now[0] = 50.0
    speed.resume()
    assert str(speed) == "5.0 images/s"


def test_means_are_of_the_total_and_the_final_terms() -> None:
    means = Means()
    for value in (1.0, 3.0):
        final = Term(Origin(1, "match"), "class", torch.tensor(value), final=True)
        other = Term(Origin(0, "match"), "class", torch.tensor(9.0), final=False)
        means.add(torch.tensor(10 * value), (other, final))
    means.add(torch.tensor(torch.nan), ())  # of a step that was left out
    assert str(means) == "loss 20 = final 2 (class 2) + 18 in 1 auxiliary set"
