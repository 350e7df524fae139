"""Files and folders as people name them: `~`, either Unicode form, names of any length."""

from __future__ import annotations

import errno
import os
import unicodedata
from pathlib import Path

from detbox.errors import SettingError
from detbox.messages import shown


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
