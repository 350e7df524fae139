"""The folder of a run: made for it alone, never shared, and gone again where nothing came of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from detbox.errors import SettingError
from detbox.messages import quoted
from detbox.messages import typed as spelled
from detbox.places import located
from detbox.runfile import LAST

RESOLVER = "free_folder"
OWN = {"checkpoints", "metrics.csv"}
"""what only a training leaves"""
HYDRA = {".hydra"}
RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK")


def register_resolver() -> None:
    """Let `${free_folder:runs/…}` in a configuration stand for a new folder, made at once."""
    OmegaConf.register_new_resolver(RESOLVER, free_folder, use_cache=True, replace=True)


def free_folder(wanted: str) -> str:
    """Make a folder that is nobody else's: the one that is wanted, or with the first free number.

    Only the first process of a run makes one; the others write nothing.
    """
    if rank():
        return wanted
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


def rank() -> int:
    """Of this process in its run, before any framework knows."""
    return int(next((os.environ[each] for each in RANKS if os.environ.get(each)), 0))


def going_on(command: str, typed: Mapping[str, Any]) -> list[str]:
    """What `resume=auto` stands for: the checkpoint in the folder of the run, where there is one.

    Raises:
        SettingError: another word than auto, or no folder that stays the same.
    """
    asked = typed.get("resume")
    if command != "train" or asked in (None, "never"):
        return []
    if asked != "auto":
        raise SettingError(f"resume={asked} is none of auto and never; try resume=auto")
    if "hydra.run.dir" not in typed:
        raise SettingError(
            "resume=auto needs a folder that is the same at every start; add hydra.run.dir=FOLDER"
        )
    last = located(str(typed["hydra.run.dir"])) / "checkpoints" / LAST
    return [f"ckpt={quoted(str(last))}"] if last.is_file() and "ckpt" not in typed else []


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


def remove_empty(folder: Path) -> None:
    """Remove the folder of a command that left nothing in it but Hydra's notes."""
    if folder.is_dir() and _names(folder) <= HYDRA and folder != Path.cwd():
        shutil.rmtree(folder)
        day = folder.parent
        if day.is_dir() and not _names(day) and day != Path.cwd():
            day.rmdir()


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
