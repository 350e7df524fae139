"""Pictures that a person names: a file, a folder or a pattern."""

from __future__ import annotations

import glob
import logging
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from detbox.errors import DataError, MissingFileError, SettingError
from detbox.messages import counted, some
from detbox.places import located

logger = logging.getLogger("detbox")

ADDRESS = re.compile(r"(https?|ftp|s3|gs|file):/{1,3}", re.IGNORECASE)
"""also with the slash that `Path` takes away"""


def find_images(source: str | Path) -> list[Path]:
    """The pictures that a file, a folder with all below it or a glob pattern stands for, sorted.

    Other files in a folder or behind a pattern are left out; the log names and counts them.
    Hidden folders are not looked into, nor those of runs, which hold drawings.

    Raises:
        FileNotFoundError: there is nothing of that name.
        ValueError: there are files, but no pictures; or it is an address.
    """
    refuse_address(source)
    path = located(source)
    if path.is_file():
        return [path]
    matches = (
        _below(path) if path.is_dir() else map(Path, glob.glob(_pattern(path), recursive=True))
    )
    files = sorted(match for match in matches if match.is_file() or match.is_symlink())
    if not files and not path.is_dir():
        raise MissingFileError(f"no file, folder or match for {source}; quote a pattern's stars")
    images = [file for file in files if file.suffix.lower() in _image_suffixes()]
    if not images:
        raise DataError(
            f"{source} holds {counted(len(files), 'file')} but no image; give FILE, FOLDER, GLOB"
        )
    others = [file.name for file in files if file.suffix.lower() not in _image_suffixes()]
    if others:
        told = "file is no image" if len(others) == 1 else "files are no images"
        logger.warning("%d %s: %s", len(others), told, some(others))
    return images


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if not _is_left_out(Path(place, each))]
        yield from (Path(place, each) for each in files)


def _is_left_out(folder: Path) -> bool:
    return folder.name.startswith(".") or (folder / ".hydra").is_dir()


def refuse_address(source: object) -> None:
    """Refuse an address of the web where a file is read.

    Raises:
        SettingError: says how to fetch it.
    """
    text = str(source) if isinstance(source, (str, Path)) else ""
    if ADDRESS.match(text):
        address = ADDRESS.sub(r"\1://", text)
        raise SettingError(
            f"{address} is an address, and pictures are read from files, arrays or Pillow images; "
            f"fetch it first, curl -LO {shlex.quote(address)}, and give the file"
        )


def _pattern(path: Path) -> str:
    """A glob pattern whose leading folders, as far as they are there, are taken literally."""
    there = next((each for each in path.parents if os.path.isdir(each)), Path())
    return os.path.join(glob.escape(str(there)), str(path.relative_to(there)))


def _image_suffixes() -> set[str]:
    """Of the formats that Pillow can open."""
    extensions = Image.registered_extensions()
    return {suffix for suffix, kind in extensions.items() if kind in Image.OPEN}
