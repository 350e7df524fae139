"""Training pictures without objects: those of the data left out, others added."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from functools import cache
from hashlib import blake2b
from pathlib import Path, PurePosixPath

import numpy as np

from detbox.annotations.findings import Finding, found
from detbox.annotations.labelled import Labelled, split_of_pictures
from detbox.annotations.listing import Listing
from detbox.annotations.packing import with_findings
from detbox.annotations.split import Split
from detbox.arranging import Read
from detbox.arranging.joining import stacked
from detbox.errors import DataError, MissingFileError, SettingError
from detbox.places import located

LABELS = (".txt", ".xml", ".json")
"""suffixes of annotations that lie beside their picture"""


def with_background(read: Read, kept: bool, negatives: str | None) -> Read:
    """With other training pictures without objects; validation stays as it is.

    Args:
        read: gives the splits.
        kept: False: without those of the data.
        negatives: folder of pictures to add, with all below it.
    """
    if kept and negatives is None:
        return read
    read = cache(read)

    def arranged(part: str) -> Split | None:
        split = read(part)
        if part != "train" or split is None:
            return split
        if not kept:
            split = with_objects(split)
        if negatives is None:
            return split
        every = [each for each in map(read, ("train", "val")) if each is not None]
        return added(split, located(negatives).absolute(), every)

    return arranged


def with_objects(split: Split) -> Split:
    """The images alone that have something to learn; all where none has."""
    full = np.bincount(split.owners()[split.learnt], minlength=split.num_images) > 0
    if not full.any():
        return split
    what = "images without objects left out of training"
    left_out = found(what, ~full, split.names.__getitem__, defect=False)
    return with_findings(split.of_images(np.flatnonzero(full).tolist()), *left_out)


def added(split: Split, folder: Path, every: Sequence[Split]) -> Split:
    """The split with the pictures of a folder behind its own, as far as they can be read.

    Args:
        split: of training.
        folder: of pictures without objects.
        every: the splits of the data, whose pictures are not taken once more.

    Raises:
        MissingFileError: there is no such folder.
        SettingError: it is a file, or holds the data.
        DataError: it has no pictures, or those of the data alone.
    """
    listing = _listing(folder, split)
    known = {path for each in every for path in _resolved(each)}
    names = listing.pictures
    files = [os.path.join(os.path.realpath(folder), name) for name in names]
    double = np.array([file in known for file in files], dtype=bool)
    copied = ~double & _same_content(files, known)
    chosen = [name for name, again in zip(names, double | copied, strict=True) if not again]
    if not chosen:
        kind = "pictures of the data alone" if names else "no pictures"
        raise DataError(f"data.negatives={folder} has {kind}; give others, or leave it out")
    listed = [Labelled(name) for name in chosen]
    negatives = split_of_pictures(folder, folder, listed, split.label_space)
    first = max(0, int(split.image_ids.max(initial=0))) + 1
    numbers = np.arange(first, first + negatives.num_images)
    what = f"images without objects added from {folder}"
    findings = (
        Finding(what, negatives.num_images, negatives.names[0], defect=False),
        *(
            each
            for what, hit in (
                ("images of the data left out of data.negatives", double),
                ("files left out of data.negatives, copies of the data's", copied),
            )
            for each in found(what, hit, names.__getitem__, defect=False)
        ),
        *(each for each in negatives.findings if each.defect),
        *_labelled(listing, chosen),
        *listing.findings(),
    )
    base = Path(os.path.commonpath((split.folder, folder)))
    both = stacked([split, negatives._replace(image_ids=numbers)], base)
    return with_findings(both, *findings)


def _listing(folder: Path, split: Split) -> Listing:
    if folder.is_file():
        raise SettingError(f"data.negatives={folder} is a file; give the folder above it")
    if not folder.is_dir():
        raise MissingFileError(f"data.negatives={folder}: there is no such folder; mend the path")
    if Path(os.path.realpath(split.folder)).is_relative_to(os.path.realpath(folder)):
        raise SettingError(
            f"data.negatives={folder} holds the pictures of the data, {split.folder}; give a "
            "folder of pictures without objects"
        )
    return Listing.of(folder)


def _resolved(split: Split) -> list[str]:
    """Paths of the pictures, with links in that of the folder followed."""
    place = os.path.realpath(split.folder)
    return [os.path.join(place, split.names[index]) for index in range(split.num_images)]


def _same_content(paths: Sequence[str], known: Collection[str]) -> np.ndarray:
    """(N,) bool: byte for byte one of the known files; only files of equal sizes are read."""
    sizes, theirs = ({path: _size(path) for path in each} for each in (paths, known))
    common = set(sizes.values()) & set(theirs.values()) - {0}
    contents = {_content(path) for path in known if theirs[path] in common}
    same = (sizes[path] in common and _content(path) in contents for path in paths)
    return np.fromiter(same, dtype=bool, count=len(paths))


def _size(path: str) -> int:
    """In bytes; 0: there is no such file."""
    return os.path.getsize(path) if os.path.isfile(path) else 0


def _content(path: str) -> bytes:
    """What tells it from files of its size; its name where it cannot be read."""
    try:
        return blake2b(Path(path).read_bytes()).digest()
    except OSError:
        return os.fsencode(path)


def _labelled(listing: Listing, names: list[str]) -> tuple[Finding, ...]:
    """Pictures beside which annotations lie."""
    labels = {file.rpartition(".")[0] for file in listing.ending(*LABELS)}
    has = np.array([str(PurePosixPath(name).with_suffix("")) in labels for name in names])
    what = "images of data.negatives have annotations beside them, which are not read"
    mend = "leave pictures with objects out"
    return found(what, has, names.__getitem__, mend=mend)
