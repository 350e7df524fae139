"""Splits of a folder: found as a registered format has them, or named one by one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from detbox.annotations.files import with_files_found
from detbox.annotations.findings import Finding
from detbox.annotations.formats import Format, Source
from detbox.annotations.packing import with_findings
from detbox.annotations.split import Split
from detbox.errors import DataError, MissingFileError
from detbox.messages import some
from detbox.places import located
from detbox.registry import FORMATS

OTHER = {"train": "val", "val": "train"}


class Named(NamedTuple):
    """Where the caller says that a split lies."""

    images: str | None
    annotations: str | None


class Folder:
    """Reads one split at a time, and never looks for the other one without need.

    Args:
        root: of the whole data set.
        named: paths of single splits, relative to the root where there is one.
        format: of the annotations; None: the first one that finds any.
    """

    def __init__(self, root: str | None, named: Mapping[str, Named], format: str | None) -> None:
        self._root = root
        self._named = named
        self._format = format

    def __call__(self, split: str) -> Split | None:
        """The split, with its files checked; None where only the other one is there.

        Raises:
            FileNotFoundError: the root, the annotations, or all images are missing.
            ValueError: no split is found or named, or the annotations cannot be read.
        """
        found = self._find(split)
        if found is not None:
            return self._read(*found, split)
        if self._find(OTHER[split]) is not None:
            return None
        root = self._existing_root()
        for format in self._formats():
            if root and (whole := format.find_undivided(root)):
                return _undivided(self._read(format, whole, split), root)
        raise self._nothing(root)

    def _find(self, split: str) -> tuple[Format, Source] | None:
        """Format and place of a split."""
        root, formats = self._existing_root(), self._formats()
        images, annotations = self._named[split]
        if images is None and annotations is None:
            tries = ((each, each.find(root, split)) for each in formats) if root else ()
            return next(((each, source) for each, source in tries if source), None)
        if images is None or annotations is None:
            given = "images" if annotations is None else "annotations"
            raise DataError(
                f"data.{split}_images and data.{split}_annotations go together, "
                f"got only data.{split}_{given}; set the other as well"
            )
        base = root or Path.cwd()
        source = Source(_inside(base, images), _inside(base, annotations))
        return next((each for each in formats if each.fits(source)), formats[0]), source

    def _read(self, format: Format, source: Source, split: str) -> Split:
        root = self._existing_root() or source.images
        return with_files_found(format.read(source), root, split)

    def _formats(self) -> list[Format]:
        names = [self._format] if self._format else FORMATS.names()
        return [FORMATS.build({"name": name}) for name in names]

    def _existing_root(self) -> Path | None:
        if self._root is None:
            return None
        folder = located(self._root).absolute()
        if not folder.is_dir():
            raise MissingFileError(
                f"data.root={self._root}: there is no folder {folder}; mend the path"
            )
        return folder

    def _nothing(self, root: Path | None) -> DataError:
        layouts = "; or ".join(format.places for format in self._formats())
        return DataError(
            f"data={self._format or 'folder'} needs data.root=FOLDER with {layouts}"
            + (f"; {root} has none of them{_documents(root)}" if root else "")
            + "; or name data.train_images, data.train_annotations, data.val_images and "
            "data.val_annotations"
        )


def _documents(root: Path) -> str:
    """What else there is that could be annotations, for a message."""
    suffixes = (".json", ".xml", ".csv", ".txt", ".yaml")
    found = [
        os.path.relpath(os.path.join(folder, file), root)
        for folder, _, files in os.walk(root)
        for file in files
        if file.lower().endswith(suffixes)
    ]
    return f", but {some(sorted(found), 4)}" if found else ""


def _inside(base: Path, path: str) -> Path:
    """A path from a folder on, unless it is absolute or starts at home."""
    return located(base / os.path.expanduser(path))


def _undivided(whole: Split, root: Path) -> Split:
    shared = Finding(
        "images serve training and evaluation alike, since "
        f"{root} is not divided into train and val; name data.val_images and "
        "data.val_annotations for figures worth reporting",
        whole.num_images,
        whole.names[0],
    )
    return with_findings(whole, shared)
