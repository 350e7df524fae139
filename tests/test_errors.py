"""Errors for people end in one line; bugs keep their traceback."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from tiny import MODEL, TRAINER

from detbox import cli, errors
from detbox.commands.table import COMMANDS
from detbox.errors import DetboxError, SettingError, UnknownNameError
from detbox.registry import Part

BUGS = (
    ValueError("zip() argument 2 is shorter than argument 1"),
    RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
    KeyError("a key of a plug-in's dictionary"),
    OSError("a socket closed"),
)
MEMORY = (
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
)


def _train(monkeypatch: pytest.MonkeyPatch, folder: Path, error: Exception) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["train.py", *MODEL, *TRAINER, "hydra.run.dir=run"])
    monkeypatch.setitem(COMMANDS._parts, "train", Part(fail, None))
    cli.main("train")


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: type(bug).__name__)
def test_a_bug_keeps_its_traceback(
    bug: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(type(bug)) as raised:
        _train(monkeypatch, tmp_path, bug)
    assert raised.value is bug


def test_what_a_person_can_mend_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        _train(monkeypatch, tmp_path, UnknownNameError("no model 'x'; try 'dino'"))
    assert stop.value.code == 1
    assert capsys.readouterr().err == "error: no model 'x'; try 'dino'\n"


@pytest.mark.parametrize("error", MEMORY, ids=lambda error: type(error).__name__)
def test_out_of_memory_is_one_line_and_a_traceback_in_the_run_folder(
    error: Exception,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        _train(monkeypatch, tmp_path, error)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: out of memory")
    assert "data.batch_size" in line
    assert "Traceback" in (tmp_path / "run" / "out_of_memory.txt").read_text()


def test_every_error_for_people_is_a_built_in_kind_too() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__bases__]
    for kind in set(kinds) - {DetboxError}:
        assert issubclass(kind, DetboxError)
        assert kind.__mro__[2] in (ValueError, KeyError, FileNotFoundError, RuntimeError)


def test_a_key_error_for_people_is_not_quoted() -> None:
    assert str(UnknownNameError("no 'x'")) == "no 'x'"
    assert str(SettingError("no 'x'")) == "no 'x'"
