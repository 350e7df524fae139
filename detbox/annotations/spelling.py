"""One file under two spellings: which file of a folder a name of an annotation file means."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://[^/]*", re.IGNORECASE)
CONTAINER = re.compile(r"(?:images?|imgs?|pictures?|photos?|jpegimages|data)\d*")
SPLIT = re.compile(r"(train|val|test)(?:id|idation|ing)?\d*")
Parts = tuple[str, ...]


class Spelled(NamedTuple):
    """A path as it is compared: slashes, Unicode composed, without %20, address and case."""

    folders: Parts
    name: str
    exact: str
    """the last part with its case"""

    @classmethod
    def of(cls, path: str) -> Spelled:
        """Of a path or an address."""
        if address := ADDRESS.match(path):
            path = re.split("[?#]", path[address.end() :])[0]
        plain = unicodedata.normalize("NFC", unquote(path).replace("\\", "/"))
        parts = [each for part in plain.split("/") if (each := part.strip()) not in ("", ".")]
        folded = [unicodedata.normalize("NFC", part.casefold()) for part in parts]
        return cls(tuple(folded[:-1]), folded[-1] if folded else "", parts[-1] if parts else "")

    def distance(self, other: Spelled) -> int | None:
        """0: the same folders; 1: one has more of them in front; 2: other than `images` or a split.

        None: not the same file.
        """
        if self.name != other.name:
            return None
        ours, theirs = self.folders, other.folders
        if ours == theirs:
            return 0
        if _ends(ours, theirs):
            return 1
        return 2 if _ends(_without_containers(ours), _without_containers(theirs)) else None


class Tree:
    """The files below a folder, found under any spelling; links to folders are not followed.

    Args:
        base: the folder.
        split: name of the split whose files are looked for; the folder's own without.
    """

    def __init__(self, base: Path, split: str | None = None) -> None:
        self._split = split_of((split or base.name).casefold().split("/"))
        self._files: defaultdict[str, list[tuple[Spelled, str]]] = defaultdict(list)
        for path in _walk(base):
            spelled = Spelled.of(path)
            self._files[spelled.name].append((spelled, path))

    def find(self, name: str) -> str | None:
        """The one file that is meant, relative to the folder; None: none, or it cannot be told."""
        meant = Spelled.of(name)
        near = [
            ((distance, spelled.exact != meant.exact), path)
            for spelled, path in self._files.get(meant.name, ())
            if (distance := meant.distance(spelled)) is not None
            and self._same_split(meant, spelled)
        ]
        best = min((rank for rank, _ in near), default=None)
        paths = [path for rank, path in near if rank == best]
        return paths[0] if len(paths) == 1 else None

    def alike(self, name: str) -> str | None:
        """A file of the same name elsewhere, or of the same stem, relative to the folder."""
        meant = Spelled.of(name)
        if same := self._files.get(meant.name):
            return same[0][1]
        stem = os.path.splitext(meant.name)[0]
        others = (name for name in self._files if os.path.splitext(name)[0] == stem)
        other = next(others, None)
        return None if other is None else self._files[other][0][1]

    def _same_split(self, meant: Spelled, spelled: Spelled) -> bool:
        """Train and validation pictures may have the same names."""
        splits = {self._split, split_of(spelled.folders), split_of(meant.folders)}
        return len(splits - {None}) <= 1


def _ends(one: Parts, other: Parts) -> bool:
    short, long = sorted((one, other), key=len)
    return long[len(long) - len(short) :] == short


def _without_containers(folders: Parts) -> Parts:
    return tuple(f for f in folders if not (CONTAINER.fullmatch(f) or SPLIT.fullmatch(f)))


def split_of(folders: Sequence[str]) -> str | None:
    """The split that the folder nearest to the file is named after."""
    matches = (SPLIT.fullmatch(folder) for folder in reversed(folders))
    return next((match[1] for match in matches if match), None)


def _walk(base: Path) -> Iterator[str]:
    for folder, _, files in os.walk(base):
        prefix = os.path.relpath(folder, base)
        yield from (file if prefix == "." else f"{prefix}/{file}" for file in files)
