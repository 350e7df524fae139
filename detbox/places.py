"""Files and folders as people name them: `~`, either Unicode form, names alike or too long."""

from __future__ import annotations

import errno
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from detbox.errors import SettingError
from detbox.messages import shown

LONGEST_STEM = 240
"""bytes"""


def cache_folder() -> Path:
    """`DETBOX_CACHE`, or `~/.cache/detbox`."""
    return Path(os.environ.get("DETBOX_CACHE") or "~/.cache/detbox").expanduser().absolute()


def located(path: str | Path) -> Path:
    """The path that is meant: with the home folder for `~`, in the Unicode form that is there.

    Where nothing is there, the path as it was given, for a message or to be made.

    Raises:
        SettingError: no file can have such a name.
    """
    literal, home = Path(path), Path(os.path.expanduser(path))
    for each in (home, literal):
        _check(each)
        if os.path.exists(each):
            return each
    return home if str(home).isascii() else _in_stored_form(home)


def unique_names(sources: Sequence[Path], suffix: str) -> list[str]:
    """Names for files that are made of the sources; where stems are alike, later ones are numbered.

    Alike are also those that differ in letter case or Unicode form, which some file systems ignore,
    or in spaces as addresses have them (`%20`), which readers of annotations do not tell apart.
    """
    taken: set[str] = set()
    counts: Counter[str] = Counter()
    names: list[str] = []
    for source in sources:
        stem = _shortened(source.stem)
        name = stem + suffix
        while _folded(name) in taken:
            counts[_folded(stem)] += 1
            name = f"{stem}-{counts[_folded(stem)] + 1}{suffix}"
        taken.add(_folded(name))
        names.append(name)
    return names


def _shortened(stem: str) -> str:
    """Cut such that suffix and number fit into the 255 bytes that a name can have."""
    stored = os.fsencode(stem)
    return stem if len(stored) <= LONGEST_STEM else stored[:LONGEST_STEM].decode(errors="ignore")


def _folded(name: str) -> str:
    plain = unicodedata.normalize("NFC", unquote(name)).strip()
    return unicodedata.normalize("NFC", plain.casefold())


def _check(path: Path) -> None:
    try:
        os.lstat(path)
    except ValueError:
        raise SettingError(f"{shown(str(path))} is no name that a file can have; mend it") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise SettingError(
                f"{shown(str(path))} is {len(os.fsencode(path))} bytes long, more than a path or "
                "one of its names can have here; shorten it"
            ) from None


def _in_stored_form(path: Path) -> Path:
    """With every part composed or decomposed as the file system has it: `ü` has two spellings."""
    found = Path(path.anchor)
    for part in path.relative_to(path.anchor).parts:
        forms = (part, unicodedata.normalize("NFC", part), unicodedata.normalize("NFD", part))
        there = (found / form for form in forms if os.path.lexists(found / form))
        found = next(there, found / part)
    return found
