"""Fonts for the names of classes: Pillow's own for ASCII, for other scripts what the system has."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import cast

from lightning_utilities.core.rank_zero import rank_zero_only
from PIL import ImageFont

from detbox.messages import counted, printable, some
from detbox.structures import LabelSpace

log = logging.getLogger("detbox")

LONGEST = 32
"""characters of a name on a picture"""
FOLDERS = (
    *("/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts"),
    *("/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts"),
    *("${WINDIR}/Fonts", "${LOCALAPPDATA}/Microsoft/Windows/Fonts"),
)
KINDS = (".ttf", ".otf", ".ttc")
STYLED = ("bold", "italic", "oblique", "mono", "serif", "light", "thin", "condensed", "math")
NO_CHARACTER = "\U0010ffff"
"""every font shows the sign for what it lacks"""
RUNS = re.compile(r"[^\x00-\x7f]+(?: +[^\x00-\x7f]+)*|[\x00-\x7f]+")


def legible(space: LabelSpace) -> tuple[str, ...]:
    """The names as pictures can show them, by label: short, or the id where no font has the name.

    The log says which font to install.
    """
    lacking = [name for name in space.names if None in map(font_file, _other(name))]
    if lacking and getattr(rank_zero_only, "rank", 0) == 0:
        log.warning(
            "pictures show the ids of %s, since no font here can write %s; install %s",
            counted(len(lacking), "class"),
            some(lacking),
            some(sorted({_family(name) for name in lacking})),
        )
    pairs = zip(space.names, space.category_ids, strict=True)
    return tuple(f"id {number}" if name in lacking else _short(name) for name, number in pairs)


def runs(text: str, size: int) -> list[tuple[str, ImageFont.FreeTypeFont]]:
    """A line of text in pieces, each with a font of `size` pixels that has it, if there is one."""
    return [(run, _font(font_file(run) or "", size)) for run in RUNS.findall(text)]


def font_file(text: str) -> str | None:
    """The first font that has all characters; "" is Pillow's own, None that there is none."""
    needed = frozenset(each for each in text if unicodedata.category(each) not in ("Mn", "Cf"))
    return _file_with(needed - {" "})


def _other(name: str) -> list[str]:
    return [run for run in RUNS.findall(_short(name)) if not run.isascii()]


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= LONGEST else name[: LONGEST - 3] + "..."


@lru_cache(maxsize=256)
def _file_with(characters: frozenset[str]) -> str | None:
    return next((file for file in ("", *_files()) if _has(file, characters)), None)


def _has(file: str, characters: frozenset[str]) -> bool:
    try:
        font = _font(file, 16, ImageFont.Layout.BASIC)
        lacking = font.getmask(NO_CHARACTER)
        shown = (font.getmask(each) for each in sorted(characters))
        return all((e.size, bytes(e)) != (lacking.size, bytes(lacking)) for e in shown)
    except OSError:  # emoji in colours have one size alone
        return False


@lru_cache(maxsize=64)
def _font(file: str, size: int, layout: ImageFont.Layout | None = None) -> ImageFont.FreeTypeFont:
    if file:
        return ImageFont.truetype(file, size, layout_engine=layout)
    return cast("ImageFont.FreeTypeFont", ImageFont.load_default(size))


@lru_cache(maxsize=1)
def _files() -> tuple[str, ...]:
    """All fonts of the system, those of an upright sans first."""
    found = {file for file in (*_of_fontconfig(), *_in_folders()) if file.lower().endswith(KINDS)}

    def rank(file: str) -> tuple[int, str]:
        name = Path(file).name.lower()
        return sum(style in name for style in STYLED), name

    return tuple(sorted(found, key=rank))


def _of_fontconfig() -> list[str]:
    """What fontconfig knows, which may lie anywhere."""
    program = shutil.which("fc-list")
    if program is None:
        return []
    try:
        command = [program, "--format", "%{file}\n"]
        listed = subprocess.run(command, capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return os.fsdecode(listed.stdout).splitlines()


def _in_folders() -> list[str]:
    folders = (os.path.expanduser(os.path.expandvars(each)) for each in FOLDERS)
    return [
        os.path.join(folder, file)
        for top in folders
        for folder, _, files in os.walk(top)
        for file in files
    ]


def _family(name: str) -> str:
    """A usual font for the first character that no font here has."""
    others = [each for each in "".join(_other(name)) if not each.isascii()]
    first = next((each for each in others if font_file(each) is None), others[0])
    script = unicodedata.name(first, "").partition(" ")[0].partition("-")[0]
    if unicodedata.category(first) == "So":
        return "Noto Emoji"
    if script in ("CJK", "HIRAGANA", "KATAKANA", "HANGUL"):
        return "Noto Sans CJK"
    return f"Noto Sans {script.title()}" if script.isalpha() else "Noto Sans"
