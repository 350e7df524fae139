"""Two writers never share a folder, a run goes on in its own, and failures leave none."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import forked_run
import pytest
from tiny import TINY, column

from detbox.commands import overrides
from detbox.errors import SettingError
from detbox.run_folder import (
    check_given,
    free_folder,
    going_on,
    held,
    new_folder,
    remove_empty,
    tidied,
)

ONE_STEP = (*TINY, "trainer.max_steps=1", "trainer.limit_val_batches=1")


def run_in(folder: Path) -> Path:
    """A folder that looks like a run's."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    return folder


def test_a_folder_that_is_taken_gets_the_next_number(tmp_path: Path) -> None:
    wanted = str(tmp_path / "day" / "12-00-00")
    made = [free_folder(wanted) for _ in range(3)]
    assert made == [wanted, f"{wanted}-1", f"{wanted}-2"]
    assert all(Path(each).is_dir() for each in made)


def test_a_folder_is_made_only_for_what_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (["--cfg", "job"], ["-c", "job"], ["hydra.run.dir=a"]):
        assert new_folder(arguments, overrides.typed(arguments)) == []
    monkeypatch.setenv("RANK", "1")
    assert new_folder([], {}) == []
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("RANK", "0")
    (run,), (sweep,) = new_folder([], {}), new_folder(["-m"], {})
    assert run.startswith("hydra.run.dir=runs/")
    assert sweep.startswith("hydra.sweep.dir=multirun/")
    assert all(Path(each.partition("=")[2]).is_dir() for each in (run, sweep))


def test_a_folder_is_held_by_one_process_and_not_by_its_workers(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    reader, writer = os.pipe()
    first = os.fork()
    if not first:
        try:
            with held(folder):
                worker = os.fork()
                os.write(writer, b"" if not worker else str(worker).encode())
                time.sleep(30)
        finally:
            os._exit(1)  # never on with the tests
    worker = int(os.read(reader, 20))
    with pytest.raises(SettingError, match=rf"in use by process {first} on "), held(folder):
        pass
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    try:
        with held(folder):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)


@pytest.mark.parametrize("command", ["train", "evaluate", "predict"])
def test_the_folder_of_a_run_is_refused(command: str, tmp_path: Path) -> None:
    folder = run_in(tmp_path / "run")
    other = run_in(tmp_path / "other")
    with pytest.raises(SettingError, match="holds a run already"):
        check_given(command, {"hydra.run.dir": str(folder), "ckpt": str(other)})


def test_the_folder_of_a_sweep_is_refused(tmp_path: Path) -> None:
    run_in(tmp_path / "sweep" / "0")
    with pytest.raises(SettingError, match=r"holds a sweep already"):
        check_given("train", {"hydra.sweep.dir": str(tmp_path / "sweep")})
    check_given("train", {"hydra.sweep.dir": str(tmp_path / "other")})


def test_a_run_may_go_on_in_its_folder(tmp_path: Path) -> None:
    folder = run_in(tmp_path / "run")
    for ckpt in (folder, folder / "checkpoints" / "last.ckpt"):
        check_given("train", {"hydra.run.dir": str(folder), "ckpt": str(ckpt)})


@pytest.mark.parametrize("name", ["run", "a=b", "it's [1] ü"])
def test_auto_means_the_checkpoint_that_is_there(name: str, tmp_path: Path) -> None:
    typed = {"resume": "auto", "hydra.run.dir": str(tmp_path / name)}
    assert going_on("train", typed) == []
    folder = run_in(tmp_path / name)
    (given,) = going_on("train", typed)
    assert overrides.typed([given]) == {"ckpt": str(folder / "checkpoints" / "last.ckpt")}


@pytest.mark.parametrize("start", ["init", "ckpt"])
def test_auto_leaves_behind_what_the_run_started_from(start: str, tmp_path: Path) -> None:
    folder = run_in(tmp_path / "run")
    typed = ["resume=auto", f"hydra.run.dir={folder}", f"{start}={run_in(tmp_path / 'first')}"]
    given = overrides.typed([*typed, *going_on("train", overrides.typed(typed))])
    assert given["ckpt"] == str(folder / "checkpoints" / "last.ckpt")
    assert given.get("init") is None
    check_given("train", given)


@pytest.mark.parametrize("typed", [{"resume": "auto"}, {"resume": "yes", "hydra.run.dir": "a"}])
def test_auto_needs_a_folder_that_stays(typed: dict[str, str]) -> None:
    with pytest.raises(SettingError, match=r"resume=auto"):
        going_on("train", typed)


def test_a_folder_with_results_is_not_removed(tmp_path: Path) -> None:
    left_in = (("empty", ".hydra/config.yaml"), ("empty", "console.log"), ("full", "pictures.jpg"))
    for name, left in left_in:
        (tmp_path / name / left).parent.mkdir(parents=True)
        (tmp_path / name / left).touch()
        remove_empty(tmp_path / name)
    assert [each.name for each in tmp_path.iterdir()] == ["full"]


@pytest.mark.slow
def test_a_run_adds_to_what_its_folder_holds(tmp_path: Path) -> None:
    options = (*TINY, "hydra.run.dir=run", "resume=auto")
    for epochs in (1, 2):
        process = forked_run.start(
            "train", *options, f"trainer.max_epochs={epochs}", folder=tmp_path
        )
        assert forked_run.ended(process) == 0, (tmp_path / "train.log").read_text()
    assert list(column(tmp_path / "run" / "metrics.csv", "train/loss")) == list(range(12))
    assert list(column(tmp_path / "run" / "metrics.csv", "val/AP")) == [5, 11]
    seen = [each.rstrip() for each in (tmp_path / "train.log").read_text().splitlines()]
    kept = (tmp_path / "run" / "console.log").read_text().splitlines()
    headings = [line for line in kept if line.startswith("# ")]
    assert [line for line in kept if line and line not in headings] == list(filter(None, seen))
    assert ["trainer.max_epochs=2" in line for line in headings] == [False, True]
    process = forked_run.start("train", *TINY, "hydra.run.dir=run", folder=tmp_path)
    assert forked_run.ended(process) == 1
    assert "hydra.run.dir=run holds a run already" in (tmp_path / "train.log").read_text()


@pytest.mark.slow
def test_runs_that_start_together_get_a_folder_each(tmp_path: Path) -> None:
    processes = [forked_run.start("train", *ONE_STEP, folder=tmp_path) for _ in range(2)]
    assert [forked_run.ended(each) for each in processes] == [0, 0]
    assert len(list(tmp_path.glob("runs/*/*/checkpoints/last.ckpt"))) == 2


@pytest.mark.slow
def test_a_command_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    process = forked_run.start("train", "data=coco", "data.root=nowhere", folder=tmp_path)
    assert forked_run.ended(process) == 1
    assert [each.name for each in tmp_path.rglob("*")] == ["train.log"]


@pytest.mark.parametrize("begins", [False, True])
def test_a_refused_command_leaves_the_settings_of_the_run(begins: bool, tmp_path: Path) -> None:
    run_in(tmp_path)
    (tmp_path / ".hydra").mkdir()
    settings = tmp_path / ".hydra" / "config.yaml"
    settings.write_text("then")

    def fails() -> None:
        with tidied([f"hydra.run.dir={tmp_path}"]):
            settings.write_text("now")
            if begins:
                (tmp_path / "hparams.yaml").touch()
            sys.exit(1)

    with pytest.raises(SystemExit):
        fails()
    assert settings.read_text() == ("now" if begins else "then")
