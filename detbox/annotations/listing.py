"""The files of a folder, listed once; none that a link takes from outside of it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from detbox.annotations.findings import Finding

PICTURES = re.compile(r"\.(jpe?g|jfif|png|bmp|dib|tiff?|webp|gif|p[gpn]m|jp2|tga|avif)$", re.I)
"""suffixes of pictures"""
SKIPPED = ("__MACOSX",)


class Listing(NamedTuple):
    """Regular files below a folder, sorted, hidden ones left out."""

    root: Path
    files: tuple[str, ...]
    """relative to the root, with `/`"""
    links: tuple[str, ...]
    """links that lead out of the folder, to folders, or to nothing; what is behind is not read"""

    @classmethod
    def of(cls, root: Path) -> Listing:
        """Of what there is now; a folder that cannot be listed is empty."""
        files: list[str] = []
        links: list[str] = []
        top = os.path.realpath(root)
        for path, entry in walk(str(root)):
            if entry.is_symlink() and not _stays(entry.path, top):
                links.append(path)
            elif entry.is_file():
                files.append(path)
        return cls(root, tuple(sorted(files)), tuple(sorted(links)))

    @property
    def pictures(self) -> list[str]:
        """Files that are pictures by their suffix."""
        return [file for file in self.files if PICTURES.search(file)]

    def ending(self, *suffixes: str) -> list[str]:
        """Files of such suffixes, lower-case with the point, in any case."""
        return [file for file in self.files if file.lower().endswith(suffixes)]

    def findings(self) -> tuple[Finding, ...]:
        """What was not followed."""
        if not self.links:
            return ()
        what = "links to folders or out of the folder not followed"
        mend = "name the folder behind as data.train_images and so on, or copy it"
        return (Finding(what, len(self.links), self.links[0], mend=mend),)


def walk(folder: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Paths below a folder, relative to it, with what they are; hidden ones and links stay out."""
    pending = [(folder, "")]
    while pending:
        folder, prefix = pending.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name in SKIPPED:
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.append((entry.path, f"{prefix}{entry.name}/"))
            else:
                yield prefix + entry.name, entry


def _stays(link: str, top: str) -> bool:
    """Whether a link ends at a regular file inside."""
    target = os.path.realpath(link)
    try:
        regular = stat.S_ISREG(os.stat(target).st_mode)
    except (OSError, ValueError):
        return False
    return regular and os.path.commonpath((top, target)) == top
