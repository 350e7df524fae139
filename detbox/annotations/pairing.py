"""Which label file belongs to which picture, and which split a file is of, both by their paths."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache

from detbox.annotations.findings import Finding
from detbox.annotations.listing import PICTURES, Listing
from detbox.annotations.spelling import Spelled, split_of

CONTAINERS = re.compile(
    r"(images?|imgs?|labels?|annotations?|annots?|jpegimages|xmls?|txts?|jsons?)"
)
"""folders that say what lies in them, not which pictures they are"""
Key = tuple[str, ...]
WITHOUT_FILE = "image files without an annotation file left out"


def split_of_file(path: str) -> str | None:
    """`train`, `val` or `test`, as the nearest folder that is named so; None: no folder is."""
    return split_of(Spelled.of(path).folders)


def of_split(paths: Iterable[str], split: str) -> list[str]:
    """Those below a folder of the split; all of them where `split` is empty."""
    return [path for path in paths if not split or split_of_file(path) == split]


def left_out_pictures(
    what: str, pictures: Iterable[str], split: str, named: Collection[str]
) -> list[Finding]:
    """Pictures of a split that no annotation names, under `what` a message calls them."""
    others = [picture for picture in of_split(pictures, split) if picture not in named]
    return [Finding(what, len(others), others[0], defect=False)] if others else []


class Pairs:
    """Files of labels, found by the picture's path.

    `images/train/a.jpg` has `labels/train/a.txt`, `train/images/a.jpg` has `train/labels/a.txt`,
    `a.jpg` has `a.txt`: folders such as `images` do not count, nor does letter case. A label that
    lies in none of these places is the picture's if both are alone with their name and their
    splits do not differ.
    """

    def __init__(self, labels: Sequence[str], pictures: Sequence[str]) -> None:
        self._exact: dict[Key, str] = {}
        self._stems: dict[str, list[str]] = {}
        for label in labels:
            self._exact.setdefault(_key(label), label)
            self._stems.setdefault(_key(label)[-1], []).append(label)
        stems = [_key(picture)[-1] for picture in pictures]
        self._alone = {stem for stem, count in _counts(stems).items() if count == 1}

    def label(self, picture: str) -> str | None:
        """The label file of a picture; None: it has none."""
        key = _key(picture)
        if found := self._exact.get(key):
            return found
        others = self._stems.get(key[-1], [])
        if len(others) != 1 or key[-1] not in self._alone:
            return None
        splits = {split_of_file(picture), split_of_file(others[0])} - {None}
        return others[0] if len(splits) <= 1 else None


class Pictures:
    """Pictures of a folder, by the names that annotations give them, which may be old paths."""

    def __init__(self, listing: Listing) -> None:
        self._known = set(listing.pictures)
        self._alike: dict[str, list[str]] = {}
        for picture in listing.pictures:
            self._alike.setdefault(Spelled.of(picture).name, []).append(picture)

    def find(self, name: str, beside: str = "", split: str = "") -> str | None:
        """The picture that is meant; None: none is, or it cannot be told.

        Args:
            name: as it is written; only as much of its end as fits is looked for.
            beside: folder of the annotations, where names may start.
            split: that it must not contradict.
        """
        parts = [each for each in _parts(name) if each not in ("", ".", "..")]
        for start in range(min(len(parts), 64)):
            tail = "/".join(parts[start:])
            for path in (f"{beside}/{tail}", f"{beside}/images/{tail}", tail):
                if path in self._known:
                    return path
        alike = self._alike.get(Spelled.of(name).name, [])
        near = [each for each in alike if not split or split_of_file(each) in (None, split)]
        own = [each for each in near if beside and each.startswith(f"{beside}/")]
        chosen = own or near
        return chosen[0] if len(chosen) == 1 else None


def stand_in(name: str, beside: str) -> str:
    """A name for a picture that is not there, inside of the folder of its annotations."""
    parts = [each for each in _parts(name) if each not in ("", ".", "..")]
    plain = (parts[-1] if parts else "").replace("\0", "") or "no name"
    return f"{beside}/{plain}" if beside else plain


def _parts(name: str) -> list[str]:
    return name.strip().replace("\\", "/").split("/")


@lru_cache(maxsize=2**20)
def _key(path: str) -> Key:
    spelled = Spelled.of(path)
    stem = spelled.name.rpartition(".")[0] or spelled.name
    if not PICTURES.search(spelled.name):
        stem = PICTURES.sub("", stem)
    return (*(each for each in spelled.folders if not CONTAINERS.fullmatch(each)), stem)


def _counts(stems: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for stem in stems:
        counts[stem] = counts.get(stem, 0) + 1
    return counts
