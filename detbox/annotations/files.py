"""Whether the pictures of a split are there, under the names that its annotations give them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detbox.annotations.findings import ABSENT, found
from detbox.annotations.packing import with_findings
from detbox.annotations.spelling import Spelled, Tree
from detbox.annotations.split import PackedStrings, Split
from detbox.errors import MissingFileError
from detbox.messages import counted, printable, typed

ABSOLUTE = re.compile(r"\A(?:[a-zA-Z]:)?[/\\]+")
Paths = list[str | None]
"""of each image, relative to a folder; None: not there"""


def with_files_found(split: Split, root: Path, part: str) -> Split:
    """The split with the names that its files really have, and those counted that are not there.

    One listing per folder: a look-up per file would take minutes on network storage. Names may also
    start from the root. For files that are then not there, other spellings are tried: backslashes,
    letter case, Unicode form, `%20`, an address, folders in front that are missing or too many. No
    file outside of root and folder is ever named.

    Args:
        split: as read; its folder need not lie in the root.
        root: of the whole data set.
        part: `train` or `val`, for messages.

    Raises:
        MissingFileError: none of the files is there.
    """
    names = [split.names[index] for index in range(split.num_images)]
    paths = _exact(split.folder, names)
    if None not in paths:
        return split
    base = root if split.folder.is_relative_to(root) else split.folder
    prefix = split.folder.relative_to(base).as_posix()
    paths = _under(prefix, paths)
    if base != split.folder:
        paths = _filled(paths, _exact(base, names))
    inner = Tree(split.folder)
    paths = _filled(paths, _under(prefix, _unique(names, _spelled(inner, names, paths))))
    if base != split.folder and not any(paths):
        paths = _unique(names, _spelled(Tree(base, split.folder.name), names, paths))
    if not any(paths):
        raise _nothing(split, names[0], base, part)
    return _renamed(split, base, names, paths, inner)


def _exact(folder: Path, names: Sequence[str]) -> Paths:
    """The names that are files as they stand."""
    present: set[str] = set()
    for parent in {os.path.dirname(name) for name in names}:
        inside = not ABSOLUTE.match(parent) and ".." not in parent.split("/")
        if inside and os.path.isdir(folder / parent):
            present.update(os.path.join(parent, each) for each in _listing(folder / parent))
    return [name if os.path.join(*os.path.split(name)) in present else None for name in names]


def _listing(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise MissingFileError(
            f"expected pictures in {folder}, it cannot be listed ({error.strerror}); "
            "mend its permissions"
        ) from None


def _spelled(tree: Tree, names: Sequence[str], paths: Paths) -> Paths:
    """Other spellings of the names that have no path yet."""
    return [
        tree.find(name) if path is None else None for name, path in zip(names, paths, strict=True)
    ]


def _unique(names: Sequence[str], paths: Paths) -> Paths:
    """Without the files that images of different names would be."""
    counts = Counter(path for path, _ in set(zip(paths, names, strict=True)))
    return [path if counts[path] == 1 else None for path in paths]


def _filled(paths: Paths, others: Paths) -> Paths:
    """The first, or else the second, unless a first one is that file already."""
    taken = set(paths)
    return [
        path or (None if other in taken else other)
        for path, other in zip(paths, others, strict=True)
    ]


def _under(prefix: str, paths: Paths) -> Paths:
    if prefix == ".":
        return paths
    return [path and f"{prefix}/{path}" for path in paths]


def _renamed(split: Split, base: Path, names: list[str], paths: Paths, inner: Tree) -> Split:
    """The split with the paths that were found; relative to its own folder if all are in there."""
    prefix = split.folder.relative_to(base).as_posix()
    kept = [path or _safe(prefix, name) for path, name in zip(paths, names, strict=True)]
    if prefix != "." and all(path.startswith(f"{prefix}/") for path in kept):
        base, kept = split.folder, [path[len(prefix) + 1 :] for path in kept]
        prefix = "."
    plain = [name if prefix == "." else f"{prefix}/{name}" for name in names]
    absent = np.array([path is None for path in paths])
    other = ~absent & (np.array(kept, dtype=object) != np.array(plain, dtype=object))

    def there(position: int) -> str:
        return f"{names[position]} as {kept[position]}"

    def gone(position: int) -> str:
        alike = inner.alike(names[position])
        return names[position] + (f", there is {alike}" if alike else "")

    split = split._replace(folder=base, names=PackedStrings(kept))
    split = with_findings(split, *found("image files found under another spelling", other, there))
    return with_findings(split, *found(ABSENT, absent, gone))


def _safe(prefix: str, name: str) -> str:
    """A name that is not there, such that it stays inside the folder."""
    relative = ABSOLUTE.sub("", name, count=1)
    return relative if prefix == "." else f"{prefix}/{relative}"


def _nothing(split: Split, first: str, base: Path, part: str) -> MissingFileError:
    """The error that no picture is there, with what is there instead and what to type."""
    name, folder = split.source.name, split.folder
    alike = Tree(base).alike(first)
    told = f"there is {alike}" if alike else ""
    where = "FOLDER"
    if alike and Spelled.of(alike).name == Spelled.of(first).name:
        where = str((base / alike).parent)
    elif alike:
        told += ", give that name in 'images'"
    advice = (
        f"set {typed(f'data.{part}_images', where)} "
        f"{typed(f'data.{part}_annotations', str(split.source))}"
    )
    if not folder.is_dir() and not alike:
        return MissingFileError(
            f"expected the images of {name} in {folder}, there is no such folder; "
            f"set data.root, or {advice.removeprefix('set ')}"
        )
    return MissingFileError(
        f"none of the {counted(split.num_images, 'image')} of {name} is in {folder} (first: "
        f"{printable(first)}{', ' + told if told else ''}); {advice}, where file names start from"
    )
