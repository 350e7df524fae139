"""Splits of a folder: found as a registered format has them, or named one by one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from detbox.annotations.files import with_files_found
from detbox.annotations.findings import Finding
from detbox.annotations.formats import Format, Source
from detbox.annotations.keeping import read_kept
from detbox.annotations.listing import Listing
from detbox.annotations.packing import with_findings
from detbox.annotations.split import Split
from detbox.arranging import Read
from detbox.arranging.division import SHARED
from detbox.arranging.roots import Called, joined
from detbox.errors import DataError, MissingFileError, SettingError
from detbox.messages import some
from detbox.places import located
from detbox.registry import FORMATS

DOCUMENTS = (".json", ".xml", ".csv", ".txt", ".yaml")
"""suffixes of what could be annotations, for a message"""
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
        for name, format in self._formats().items():
            if root and (whole := format.find_undivided(root)):
                return _undivided(self._read(name, whole, split), root)
        raise self._nothing(root)

    def _find(self, split: str) -> tuple[str, Source] | None:
        """Name of the format, and place of a split."""
        root, formats = self._existing_root(), self._formats()
        images, annotations = self._named[split]
        if images is None and annotations is None:
            tries = ((name, each.find(root, split)) for name, each in formats.items() if root)
            return next(((name, source) for name, source in tries if source), None)
        if images is None or annotations is None:
            given = "images" if annotations is None else "annotations"
            raise DataError(
                f"data.{split}_images and data.{split}_annotations go together, "
                f"got only data.{split}_{given}; set the other as well"
            )
        base = root or Path.cwd()
        source = Source(_inside(base, images), _inside(base, annotations))
        fitting = (name for name, each in formats.items() if each.fits(source))
        return next(fitting, next(iter(formats))), source

    def _read(self, name: str, source: Source, part: str) -> Split:
        root = self._existing_root() or source.images
        split = with_files_found(read_kept(name, self._formats()[name], source), root, part)
        if self._format is None:
            split = split._replace(found_as=f"{name}, {_sides(split)}")
        return split

    def _formats(self) -> dict[str, Format]:
        """By name, in the order in which they are looked for."""
        names = [self._format] if self._format else FORMATS.names()
        return {name: FORMATS.build({"name": name}) for name in names}

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
        formats = self._formats()
        listing = Listing.of(root) if root else None
        files = listing.ending(*DOCUMENTS) if listing else []
        links = listing.links if listing else ()
        near = [each for each in formats.values() if any(f.endswith(each.suffix) for f in files)]
        chosen = near if near or len(formats) > 1 else list(formats.values())
        layouts = "; or ".join(format.places for format in chosen)
        return DataError(
            f"data={self._format or 'folder'} needs data.root=FOLDER with "
            + (layouts or f"annotations in one of the formats {', '.join(formats)}")
            + (f"; {root} has none of them" if root else "")
            + (f", but {some(files, 4)}" if files else "")
            + (f"; links are not followed: {some(links, 4)}" if links else "")
            + "; or name data.train_images, data.train_annotations, data.val_images and "
            "data.val_annotations"
        )


def folders(
    roots: Sequence[str], named: Mapping[str, Named], format: str | None, called: Called
) -> Read:
    """What reads the splits of one folder, or of several together.

    Args:
        roots: the folders; none: the splits are named.
        named: paths of single splits.
        format: of the annotations; None: each folder's first one that finds any.
        called: name of a class -> as which it is learnt, for messages.

    Raises:
        SettingError: several folders, and paths that are meant in one.
    """
    if len(roots) < 2:
        return Folder(roots[0] if roots else None, named, format)
    if keys := [
        f"data.{part}_{kind}"
        for part, places in named.items()
        for kind, place in places._asdict().items()
        if place is not None
    ]:
        raise SettingError(
            f"{keys[0]} lies in one folder, data.root names {len(roots)}; give one, or folders "
            "whose splits are found by looking"
        )
    return joined(roots, lambda root: Folder(root, named, format), called)


def _sides(split: Split) -> str:
    """Sizes from the smallest to the largest area, as width x height."""
    areas = split.sizes.prod(1)
    least, most = (split.size(int(at)) for at in (areas.argmin(), areas.argmax()))
    ends = [f"{width} x {height}" for height, width in (least, most)]
    return " to ".join(dict.fromkeys(ends))


def _inside(base: Path, path: str) -> Path:
    """A path from a folder on, unless it is absolute or starts at home."""
    return located(base / os.path.expanduser(path))


def _undivided(whole: Split, root: Path) -> Split:
    shared = Finding(
        f"{SHARED}, since {root} is not divided into train and val; data.val_fraction=0.2 "
        "divides it, for figures worth reporting",
        whole.num_images,
        whole.names[0],
    )
    return with_findings(whole, shared)
