"""Where YOLO's pictures, labels and names lie: `data.yaml`, lists of pictures, or folders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from detbox.annotations.listing import PICTURES, Listing
from detbox.annotations.pairing import Pairs, of_split
from detbox.annotations.texts import decoded, read_bytes, read_text
from detbox.errors import DataError
from detbox.structures import LabelSpace

PLACES = (
    "YOLO's labels, one .txt per picture: data.yaml with train and val, "
    "images/train/ with labels/train/, train/images/ with train/labels/, "
    "train.txt and val.txt that list pictures, or pictures with .txt beside them"
)
SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation")}
NOT_LABELS = re.compile(
    r"(classes|labels|names|readme.*|licen[cs]e.*|requirements|.*\.names|"
    r"(auto)?(split_)?(train|val|valid|validation|test|trainval)\d*)\.txt",
    re.IGNORECASE,
)
LINE = re.compile(r"\s*\d+(\.0*)?(\s+[-+.\deE]+){4,}\s*$")
LOOKED_AT = 50
"""label files that must not be another thing, for a folder to be YOLO's"""
MOST_CLASSES = 2**15
YAML_BYTES = 2**20


class Meta(NamedTuple):
    """What a `data.yaml` says; all empty where there is none."""

    file: str = ""
    fields: dict[str, Any] = {}  # noqa: RUF012 - never changed

    @classmethod
    def of(cls, listing: Listing) -> Meta:
        """The one of the usual name, or else the first that lists classes or splits."""
        files = [each for each in listing.ending(".yaml", ".yml") if each.count("/") <= 1]
        usual = ("data.yaml", "dataset.yaml", "data.yml", "dataset.yml")
        files.sort(key=lambda each: (each.count("/"), each.lower() not in usual, each))
        for file in files:
            fields = _fields(listing.root / file)
            if "names" in fields or {"train", "val"} <= set(fields):
                return cls(file, fields)
        return cls()


def is_yolo(listing: Listing) -> bool:
    """Whether pictures have `.txt` files that are boxes, or a `data.yaml` says so."""
    pictures = listing.pictures
    pairs = Pairs(label_files(listing), pictures)
    labels = (label for each in pictures if (label := pairs.label(each)))
    seen = 0
    for label in labels:
        lines = read_text(listing.root / label).split("\n", 1)
        if lines[0].strip():
            return LINE.match(lines[0]) is not None
        seen += 1
        if seen == LOOKED_AT:
            break
    return seen > 0 or (bool(pictures) and bool(Meta.of(listing).file))


def label_files(listing: Listing) -> list[str]:
    """Text files that can be labels by their names, or that a picture is called like."""
    stems = {PICTURES.sub("", each.rpartition("/")[2]) for each in listing.pictures}
    files = [(each, each.rpartition("/")[2]) for each in listing.ending(".txt")]
    return [file for file, name in files if name[:-4] in stems or not NOT_LABELS.fullmatch(name)]


def pictures_of(listing: Listing, meta: Meta, split: str) -> list[str]:
    """The pictures of `train` or `val`, sorted; of all where `split` is empty."""
    if not split:
        return listing.pictures
    for named in (_of_meta(listing, meta, split), _of_list(listing, split)):
        if named:
            return sorted(set(named))
    return of_split(listing.pictures, split)


def classes_of(listing: Listing, meta: Meta) -> LabelSpace | None:
    """The names of the classes, with YOLO's numbers as ids; None: nothing names them.

    Raises:
        DataError: `names` cannot be read.
    """
    names = meta.fields.get("names")
    if names is not None:
        return _space(names, listing.root / meta.file)
    lists = [
        each for each in listing.files if re.search(r"(^|/)classes\.txt$|\.names$", each, re.I)
    ]
    lists.sort(key=lambda each: (each.count("/"), each))
    for file in lists:
        lines = read_text(listing.root / file, YAML_BYTES).split("\n")
        if listed := [line.strip() for line in lines if line.strip()]:
            return _space(listed, listing.root / file)
    return None


def numbered(count: int) -> LabelSpace:
    """Classes without names."""
    return LabelSpace(tuple(map(str, range(count))), tuple(range(count)))


def _space(names: Any, file: Path) -> LabelSpace:
    pairs = list(enumerate(names)) if isinstance(names, list) else []
    if isinstance(names, dict):
        pairs = [(int(key), name) for key, name in names.items() if str(key).isdecimal()]
        pairs.sort()
    flat = all(isinstance(name, str | int | float) for _, name in pairs)
    if not 0 < len(pairs) <= MOST_CLASSES or not flat or len(pairs) != len(names):
        raise DataError(
            f"{file}: expected 'names' as a list of names, or as numbers with names (0: cat); "
            "mend the file"
        )
    texts = [str(name).encode("utf-8", "replace").decode() for _, name in pairs]
    if twice := sorted({name for name in texts if texts.count(name) > 1}):
        raise DataError(f"{file}: the class {twice[0]!r} is named twice; name each once")
    return LabelSpace(tuple(texts), tuple(number for number, _ in pairs))


def _fields(file: Path) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(decoded(read_bytes(file, YAML_BYTES)))
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError):
        return {}
    return document if isinstance(document, dict) else {}


def _of_meta(listing: Listing, meta: Meta, split: str) -> list[str]:
    key = next((each for each in SPLITS[split] if meta.fields.get(each)), None)
    places = meta.fields.get(key) if key else None
    base = meta.fields.get("path")
    front = f"{base}/" if isinstance(base, str) else ""
    beside = meta.file.rpartition("/")[0]
    known = set(listing.files)
    found: list[str] = []
    for place in places if isinstance(places, list) else [places]:
        if isinstance(place, str):
            found += _pictures_at(listing, known, (front + place, f"{beside}/{place}", place))
    return found


def _pictures_at(listing: Listing, known: set[str], places: Sequence[str]) -> list[str]:
    """Of a folder or a list, which may be named as on another machine: as much of its end as fits.

    Nothing outside of the folder is ever looked at.
    """
    pictures = listing.pictures
    for place in places:
        for tail in _tails(place):
            if tail in known and tail.lower().endswith(".txt"):
                return _listed(listing, known, tail)
            if inside := [each for each in pictures if each.startswith(f"{tail}/")]:
                return inside
    return []


def _of_list(listing: Listing, split: str) -> list[str]:
    """Of a `train.txt`, wherever it lies."""
    pattern = re.compile(rf"(.*/)?(autosplit_)?({'|'.join(SPLITS[split])})\d*\.txt", re.I)
    known = set(listing.files)
    lists = (file for file in listing.ending(".txt") if pattern.fullmatch(file))
    return next((found for file in lists if (found := _listed(listing, known, file))), [])


def _listed(listing: Listing, known: set[str], file: str) -> list[str]:
    """The pictures that a list names and that are there."""
    beside = file.rpartition("/")[0]
    found: list[str] = []
    for line in read_text(listing.root / file).split("\n"):
        if PICTURES.search(line.strip()):
            tails = (*_tails(f"{beside}/{line.strip()}"), *_tails(line.strip()))
            found += [tail for tail in tails if tail in known][:1]
    return found


def _tails(place: str) -> Iterator[str]:
    """The path without its first parts, longest first; `.` and `..` count for nothing."""
    parts = [each for each in _parts(place) if each not in ("", ".", "..")]
    yield from ("/".join(parts[start:]) for start in range(min(len(parts), 64)))


def _parts(place: str) -> Iterable[str]:
    return place.strip().replace("\\", "/").split("/")
