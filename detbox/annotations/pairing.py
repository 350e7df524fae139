"""Which label file belongs to which picture, and which split a file is of, both by their paths."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from detbox.annotations.listing import PICTURES
from detbox.annotations.spelling import Spelled, split_of

CONTAINERS = re.compile(
    r"(images?|imgs?|labels?|annotations?|annots?|jpegimages|xmls?|txts?|jsons?)"
)
"""folders that say what lies in them, not which pictures they are"""
Key = tuple[str, ...]


def split_of_file(path: str) -> str | None:
    """`train`, `val` or `test`, as the nearest folder that is named so; None: no folder is."""
    return split_of(Spelled.of(path).folders)


def of_split(paths: Iterable[str], split: str) -> list[str]:
    """Those below a folder of the split; all of them where `split` is empty."""
    return [path for path in paths if not split or split_of_file(path) == split]


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
