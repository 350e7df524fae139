"""The table of docs/odd_inputs.md: what people bring, each tried by a real command.

PYTHONPATH=tests:tests/data python tests/odd_table.py > docs/odd_inputs.md       some ten minutes
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

import forked_run
import numpy as np
from odd_data import ODD, write_odd
from odd_names import ODD_NAMES
from PIL import Image
from test_pixel_range import SPELLINGS
from tiny import MODEL, TRAINER

HEADER = """\
# Odd inputs, and what happens

Written by `tests/odd_table.py`, which gives each to a real command (`python tools/train.py …`)
on a small detector; `FOLDER` stands for where it lay. `tests/test_odd_table.py` compares the table
with what is tried.

| kind | member | command | exit | what is said |
|---|---|---|---|---|"""
SMALL = (
    *MODEL,
    "neck.hidden_dim=64",
    *TRAINER,
    "data.train_sizes=[32]",
    "data.eval_size=32",
    "data.workers=0",
)
TRAIN = (*SMALL, "trainer=smoke", "data.crop=false")
LONG = (*MODEL, *TRAINER, "data=shapes", "trainer.max_epochs=200")
Prepare = Callable[[Path], tuple[str, ...]]
"""(empty folder) -> the arguments of the command"""


class Case(NamedTuple):
    """Something odd, and the command that gets it."""

    kind: str
    member: str
    command: str
    prepare: Prepare
    end: signal.Signals | None = None
    """sent once the first figures are there"""


def cases() -> Iterator[Case]:
    """All of them, kind by kind."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        yield Case("stopping", number.name, "train", lambda _: (*LONG, "hydra.run.dir=run"), number)
    yield Case("folders", "a run goes on in its own", "train", _goes_on)
    yield Case("folders", "a run in another's", "train", lambda f: (*_run(f), "hydra.run.dir=run"))
    yield Case("folders", "an evaluation in a run's", "evaluate", _evaluated_in_run)
    for odd in ODD:
        yield Case(odd.kind, odd.name, "train", _data_of(odd.spoil))
    for spelling in SPELLINGS:
        yield Case("range of pixels", spelling, "predict", _picture(SPELLINGS[spelling]))
    for member, write in PICTURES.items():
        yield Case("sizes and broken files", member, "predict", _picture(write))
    for name in ODD_NAMES:
        yield Case("characters", name, "train", _named(name))


def row(case: Case) -> str:
    """Try one."""
    folder = Path(mkdtemp(prefix="odd-"))
    try:
        arguments = case.prepare(folder)
        log = folder / f"{case.command}.log"
        log.unlink(missing_ok=True)
        process = forked_run.start(case.command, *arguments, folder=folder)
        if case.end:
            while not (folder / "run" / "metrics.csv").exists():
                time.sleep(0.01)
            os.killpg(process, case.end)
        code = forked_run.ended(process)
        told = _told(log.read_text(encoding="utf-8"), folder)
    finally:
        shutil.rmtree(folder)
    cells = (case.kind, f"`{_cell(case.member)}`", case.command, str(code), told)
    return f"| {' | '.join(cells)} |"


def _told(log: str, folder: Path) -> str:
    """The error, else what was mended, else nothing."""
    lines = log.replace(str(folder), "FOLDER").splitlines()
    errors = [line for line in lines if line.startswith(("error: ", "stopped by"))]
    if "Traceback (most recent call last):" in lines:
        return f"TRACEBACK {_cell(lines[-1])}"
    warnings = [line for line in lines if line.startswith("warning: ") and "limit_" not in line]
    mended = [line for line in lines if re.match(r"instances_train\.json: .*;", line)]
    return _cell((errors or mended or warnings or [""])[-1])


def _cell(text: str) -> str:
    escaped = text.replace("|", "\\|").replace("\n", "⏎")
    return escaped if len(escaped) < 240 else f"{escaped[:236]} …"


def _data_of(spoil: object) -> Prepare:
    def prepare(folder: Path) -> tuple[str, ...]:
        write_odd(folder / "data", spoil)  # type: ignore[arg-type]
        return (*TRAIN, "data=coco", "data.root=data", "hydra.run.dir=run")

    return prepare


def _named(name: str) -> Prepare:
    def prepare(folder: Path) -> tuple[str, ...]:
        write_odd(folder / name)
        return (*TRAIN, "data=coco", f"data.root={folder / name}", "hydra.run.dir=run")

    return prepare


def _run(folder: Path) -> tuple[str, ...]:
    """Leave a run in `run`; gives what trained it but for the folder."""
    prepared = _data_of(None)(folder)[:-1]
    process = forked_run.start("train", *prepared, "hydra.run.dir=run", folder=folder)
    assert forked_run.ended(process) == 0
    return prepared


def _goes_on(folder: Path) -> tuple[str, ...]:
    return (*_run(folder), "hydra.run.dir=run", "resume=auto", "trainer.max_steps=2")


def _evaluated_in_run(folder: Path) -> tuple[str, ...]:
    _run(folder)
    return ("ckpt=run", "hydra.run.dir=run")


def _picture(write: Callable[[Path], Path]) -> Prepare:
    def prepare(folder: Path) -> tuple[str, ...]:
        _run(folder)
        (folder / "pictures").mkdir()
        return ("ckpt=run", f"source={write(folder / 'pictures')}", "hydra.run.dir=seen")

    return prepare


def _saved(name: str, size: tuple[int, int]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        Image.fromarray(np.random.default_rng(0).integers(0, 255, size[::-1], dtype=np.uint8)).save(
            folder / name
        )
        return folder / name

    return write


def _content(name: str, content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def _truncated(folder: Path) -> Path:
    path = _saved("a.jpg", (64, 64))(folder)
    path.write_bytes(path.read_bytes()[:-400])
    return path


PICTURES: dict[str, Callable[[Path], Path]] = {
    "1 x 1": _saved("a.png", (1, 1)),
    "4000 x 2": _saved("a.png", (4000, 2)),
    "2 x 4000": _saved("a.png", (2, 4000)),
    "truncated": _truncated,
    "empty": _content("a.jpg", b""),
    "text": _content("a.jpg", b"not a picture"),
    "no such file": lambda folder: folder / "a.jpg",
}

if __name__ == "__main__":
    print(HEADER)
    for case in cases():
        print(row(case), flush=True)
