"""A data set in another format: annotations and pictures in a new folder, whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, cast

from detbox.annotations.findings import Finding
from detbox.annotations.formats import Format
from detbox.annotations.split import Split
from detbox.annotations.writing import Splits, Writer, prepared
from detbox.errors import SettingError
from detbox.messages import counted, near, printable
from detbox.registry import FORMATS

HOW = ("link", "copy", "none")


class Converted(NamedTuple):
    """What was written."""

    splits: dict[str, Split]
    """as they will be read back"""
    lost: dict[str, list[Finding]]
    """by split: what the format has no words for"""
    pictures: Counter[str]
    """`linked`, `copied` or `missing` -> how many"""


def undivided(splits: Splits) -> dict[str, Split]:
    """Under no name where all splits are the same pictures."""
    first, *others = splits.values()
    paths = first.paths(first.num_images)
    same = others and all(each.paths(each.num_images) == paths for each in others)
    return {"": first} if same else dict(splits)


def convert(
    splits: Splits, to: str, out: Path, pictures: str, sources: Sequence[Path]
) -> Converted:
    """Write a data set in another format.

    Args:
        splits: by `train` and `val`, or by an empty name where they are not divided.
        to: name of the format.
        out: the folder, which is made or empty.
        pictures: link: the same files under another name, or copies where the disk differs.
        sources: folders that are read, in which nothing is written.

    Raises:
        SettingError: the format is not written, or the folder is in use.
        DataError: classes that the format cannot tell apart.
    """
    writer = writer_to(to, pictures)
    check_new("out", out, sources)
    ready, lost = prepared(splits, writer)
    with whole(out) as folder:
        writer.write(folder, ready)
        done: Counter[str] = Counter()
        for part, split in ready.items():
            place = folder / writer.pictures(part)
            pairs = (
                (splits[part].path(index), place / split.names[index])
                for index in range(split.num_images)
            )
            done.update(placed(*pair, pictures) for pair in pairs if pictures != "none")
    return Converted(ready, lost, done)


def writer_to(to: str, pictures: str) -> Writer:
    """The writer of a format.

    Raises:
        SettingError: there is none, or pictures are neither linked nor copied nor left away.
    """
    writer = cast("Format", FORMATS.build({"name": to})).writer if to in FORMATS.names() else None
    if writer is None:
        known = [each for each in FORMATS.names() if FORMATS.build({"name": each}).writer]
        raise SettingError(f"to={to}: no such format to write{near(to, known)}")
    if pictures not in HOW:
        raise SettingError(f"pictures={pictures}: no such choice{near(pictures, HOW)}")
    return writer


def check_new(key: str, out: Path, sources: Sequence[Path]) -> None:
    """Refuse a folder that holds something, or lies in what is read.

    Args:
        key: of the setting that names it.
        out: the folder.
        sources: folders that are read.

    Raises:
        SettingError: says which of the two.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SettingError(f"{key}={out} is there already; give a folder that is new or empty")
    for source in sources:
        if out.resolve().is_relative_to(source.resolve()):
            raise SettingError(f"{key}={out} lies in {source}, which is read; give another folder")


def check_apart(key: str, splits: Sequence[Split]) -> None:
    """Refuse pictures of two splits, of which nothing in what is written would tell any more.

    Raises:
        SettingError: there are such.
    """
    if len(splits) < 2:
        return
    train, val = (split.paths(split.num_images) for split in splits)
    known = set(train)
    if shared := [str(path) for path in val if path in known]:
        raise SettingError(
            f"{key}=NEW would write {counted(len(shared), 'picture')} for training and for "
            f"validation, which nobody has divided (first: {printable(shared[0])}); add "
            "data.val_fraction=0.2, which divides those alone"
        )


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """A folder that gets its name when all is in it, and is gone where something goes wrong."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.parent / f".detbox-{os.getpid()}-{id(out)}"
    folder.mkdir()
    try:
        yield folder
        if out.exists():
            out.rmdir()
        folder.rename(out)
    except BaseException:
        shutil.rmtree(folder)
        raise


def placed(source: Path, target: Path, pictures: str) -> str:
    """Link or copy a picture; gives what became of it, such as `missing`."""
    if not source.is_file():
        return "missing"
    if target.exists():  # two images of one file
        return "shared"
    target.parent.mkdir(parents=True, exist_ok=True)
    if pictures == "link":
        try:
            os.link(os.path.realpath(source), target)
        except OSError:  # another disk, or one without links
            pass
        else:
            return "linked"
    shutil.copy2(source, target)
    return "copied"
