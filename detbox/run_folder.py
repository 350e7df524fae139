"""The folder of a run: made for it alone, never shared, and gone again where nothing came of it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from detbox.commands import overrides
from detbox.commands.grammar import SHOWING
from detbox.console.record import NAME as CONSOLE
from detbox.errors import SettingError
from detbox.messages import quoted
from detbox.messages import typed as spelled
from detbox.places import located
from detbox.ranks import rank, said_by_first
from detbox.runfile import LAST

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

OWN = {"checkpoints", "metrics.csv"}
"""what only a training leaves"""
LOCK = ".lock"
NOTES = {".hydra", "multirun.yaml", LOCK, CONSOLE}
"""what commands leave of which nothing came"""
SETTINGS = "hparams.yaml"
"""what a training writes when it begins"""
MULTIRUN = {"-m", "--multirun"}


def new_folder(arguments: Sequence[str], given: Mapping[str, Any]) -> list[str]:
    """Make the folder of a run or of a sweep, named by the time; gives what Hydra is to be told.

    Nothing is made where one is typed, and where nothing runs. Of the processes that a launcher
    started together the first makes it, and the others are told.

    Args:
        arguments: of the command.
        given: keys and values among them.
    """
    sweeps = not MULTIRUN.isdisjoint(arguments)
    key, kind = ("hydra.sweep.dir", "multirun") if sweeps else ("hydra.run.dir", "runs")
    if key in given or any(map(SHOWING.fullmatch, arguments)):
        return []
    wanted = datetime.now().strftime(f"{kind}/%Y-%m-%d/%H-%M-%S")
    folder = said_by_first("folder", lambda: free_folder(wanted))
    return [] if folder is None else [f"{key}={folder}"]


def free_folder(wanted: str) -> str:
    """Make a folder that is nobody else's: as wanted, or with the first free number."""
    parent = Path(wanted).parent
    parent.mkdir(parents=True, exist_ok=True)
    for number in count():
        folder = f"{wanted}-{number}" if number else wanted
        try:
            os.mkdir(folder)
        except FileExistsError:
            continue
        return folder
    raise AssertionError("numbers do not end")


def going_on(command: str, typed: Mapping[str, Any], sweeps: bool = False) -> list[str]:
    """What `resume=auto` stands for: the checkpoint in the folder of the run, where there is one.

    What the run once started from, `init=` or another run's `ckpt=`, is then left behind. The jobs
    of a sweep look for theirs when they start.

    Args:
        command: name of it.
        typed: keys and values of its command line.
        sweeps: whether it is a multirun.

    Raises:
        SettingError: another word than auto, or no folder that stays the same.
    """
    asked = typed.get("resume")
    if command != "train" or asked in (None, "never"):
        return []
    if asked != "auto":
        raise SettingError(f"resume={asked} is none of auto and never; try resume=auto")
    key = "hydra.sweep.dir" if sweeps else "hydra.run.dir"
    if key not in typed:
        raise SettingError(
            f"resume=auto needs a folder that is the same at every start; add {key}=FOLDER"
        )
    if sweeps:
        return []
    last = located(str(typed["hydra.run.dir"])) / "checkpoints" / LAST
    if not last.is_file():
        return []
    return [f"ckpt={quoted(str(last))}", *(["init=null"] if typed.get("init") else [])]


def check_given(command: str, typed: Mapping[str, Any]) -> None:
    """Refuse a folder that holds a run, unless that run goes on in it.

    Args:
        command: name of it.
        typed: keys and values of its command line.

    Raises:
        SettingError: says how to go on with that run, and how to start another.
    """
    if rank():
        return
    for key, check in (("hydra.run.dir", _check_run), ("hydra.sweep.dir", _check_sweep)):
        given = str(typed.get(key) or "")
        if given and "${" not in given:
            check(command, typed, given)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep a folder for this process; the system lets it go when the process ends, however.

    Raises:
        SettingError: another process works in it.
    """
    if rank() or fcntl is None or folder == Path.cwd():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # flock would pass to loader workers
        except (BlockingIOError, PermissionError):
            file.seek(0)
            raise SettingError(
                f"{folder} is in use by {file.read().strip() or 'another process'}; wait for it, "
                "stop it, or give another folder"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield


@contextmanager
def tidied(arguments: Sequence[str]) -> Iterator[list[str]]:
    """The arguments with a new folder, which is gone afterwards where nothing came of it.

    Args:
        arguments: of a command that needs a folder.
    """
    given = overrides.typed(arguments)
    added = new_folder(arguments, given)
    named = added[0].partition("=")[2] if added else str(given.get("hydra.run.dir") or "")
    folder = located(named)
    is_own = bool(named) and not rank() and (bool(added) or not folder.exists())
    notes = ["hydra.output_subdir=null"] if rank() and "hydra.output_subdir" not in given else []
    try:
        with _settings_kept(folder):
            yield [*arguments, *added, *notes]
    finally:
        if is_own:
            remove_empty(folder, parents=2 if added else 0)  # the day, and that of all runs


@contextmanager
def _settings_kept(folder: Path) -> Iterator[None]:
    """Put a run's settings back where a command that was to go on with it never began.

    Hydra writes its files before anybody can refuse; a run that begins writes `hparams.yaml`.
    """
    kept = {each: each.read_bytes() for each in folder.glob(".hydra/*.yaml")} if not rank() else {}
    before = _written_at(folder / SETTINGS)
    try:
        yield
    except SystemExit:
        if _written_at(folder / SETTINGS) == before:
            for file, content in kept.items():
                file.write_bytes(content)
        raise


def _written_at(file: Path) -> int | None:
    return file.stat().st_mtime_ns if file.is_file() else None


def remove_empty(folder: Path, parents: int = 0) -> None:
    """Remove a folder that has nothing in it but notes, and so many parents if empty."""
    folder = folder.absolute()
    if not folder.is_dir() or folder == Path.cwd() or not _names(folder) <= NOTES:
        return
    shutil.rmtree(folder)
    for parent in list(folder.parents)[:parents]:
        if parent == Path.cwd() or _names(parent):
            break
        parent.rmdir()


def _check_run(command: str, typed: Mapping[str, Any], given: str) -> None:
    folder = located(given)
    if not OWN & _names(folder) or (command == "train" and _goes_on(folder, typed)):
        return
    last = folder / "checkpoints" / LAST
    again = f"{spelled('ckpt', str(last))} {spelled('hydra.run.dir', given)}"
    to_go_on = f"go on with it: {again}, or " if last.is_file() else ""
    other = f"{given}/{'next' if command == 'train' else command}"
    raise SettingError(
        f"hydra.run.dir={given} holds a run already, which {command} would overwrite; "
        f"{to_go_on if command == 'train' else ''}give another folder, "
        f"such as {spelled('hydra.run.dir', other)}"
    )


def _check_sweep(command: str, typed: Mapping[str, Any], given: str) -> None:
    draws = not {"search", "hydra/sweeper"}.isdisjoint(typed)
    if typed.get("resume") == "auto" and not draws:
        return
    if any(OWN & _names(job) for job in located(given).glob("*/")):
        raise SettingError(
            f"hydra.sweep.dir={given} holds a sweep already, whose jobs {command} would "
            f"overwrite; give another folder, such as {spelled('hydra.sweep.dir', given + '-2')}"
        )


def _goes_on(folder: Path, typed: Mapping[str, Any]) -> bool:
    ckpt = typed.get("ckpt")
    if ckpt is None:  # killed before its first checkpoint, it starts again
        return typed.get("resume") == "auto"
    return folder.resolve() in (located(str(ckpt)).resolve() / "file").parents


def _names(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()} if folder.is_dir() else set()
