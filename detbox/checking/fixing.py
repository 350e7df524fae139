"""Writes the repaired copy of a data set as COCO, with its pictures, whole or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from detbox.annotations.coco_writer import COCO
from detbox.annotations.writing import prepared
from detbox.checking.mending import Mended, mended
from detbox.checking.subject import Subject
from detbox.data.converting import check_apart, check_new, placed, whole
from detbox.data.images import UPRIGHT
from detbox.messages import some


def check_target(out: Path, sources: Sequence[Path]) -> None:
    """Refuse a folder for the copy that is in use, or lies in what is read.

    Raises:
        SettingError: says which of the two.
    """
    check_new("fix", out, sources)


def fix(subject: Subject, out: Path, sources: Sequence[Path] = ()) -> Iterator[str]:
    """Write the copy, and say what was done in it; the data set itself stays as it is.

    Args:
        subject: as it was gathered, all pictures decoded.
        out: the folder, which is made or empty.
        sources: folders that are read; empty: those of the pictures.

    Raises:
        SettingError: the folder is in use, or pictures serve training and validation alike.
    """
    check_target(out, sources or [part.split.folder for part in subject.parts])
    check_apart("fix", [part.split for part in subject.parts])
    parts = mended(subject)
    ready, lost = prepared({name: each.split for name, each in parts.items()}, COCO)
    done: Counter[str] = Counter()
    with whole(out) as folder:
        COCO.write(folder, ready)
        for name, part in parts.items():
            place = folder / COCO.pictures(name)
            files = [place / ready[name].names[at] for at in range(ready[name].num_images)]
            done.update(_written(part, files))
    for name, part in parts.items():
        told = ", ".join([*part.told, *map(str, lost[name])])
        yield f"{out}, {name or 'not divided'}: {ready[name].contents()}; {told or 'as it was'}"
    pictures = [f"{number} {what}" for what, number in sorted(done.items())]
    yield f"pictures: {some(pictures)}"


def _written(part: Mended, files: Sequence[Path]) -> Iterator[str]:
    for source, target, turn in zip(part.sources, files, part.turns, strict=True):
        if turn == 1:
            yield placed(source, target, "link")
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_upright(source, target, turn)
            yield "written anew"


def write_upright(source: Path, target: Path, turn: int) -> None:
    """Write a picture with an EXIF orientation undone in its pixels; 0: as they are, without it."""
    with Image.open(source) as image:
        kind = "JPEG" if image.format == "MPO" else image.format
        upright = image.transpose(UPRIGHT[turn]) if turn in UPRIGHT else image.copy()
        upright.info = {}
        upright.save(target, kind, **({"quality": 95} if kind == "JPEG" else {}))
