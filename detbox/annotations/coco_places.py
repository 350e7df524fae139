"""Where exporters put COCO's JSON and its images."""

from __future__ import annotations

import re
from pathlib import Path

from detbox.annotations.documents import documents_of_split, split_of_document
from detbox.annotations.formats import Source
from detbox.annotations.listing import Listing
from detbox.annotations.pairing import split_of_file
from detbox.errors import DataError
from detbox.messages import some

NAMES = {"train": ("train",), "val": ("val", "valid")}
SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation")}
"""folders of pictures"""
PLACES = (
    "annotations/instances_train*.json with train*/ (and the same for val), "
    "train/_annotations.coco.json with valid/_annotations.coco.json, "
    "train/annotations.json with train/images/ (and the same for val), "
    "train.json and val.json, or one file for all, under any name, with the pictures beside it"
)
KEYS = re.compile(rb'"(images|annotations|categories|licenses)"\s*:\s*\[')
"""lists that begin a document of COCO's"""
HEAD = 2**16
"""bytes in which the first of them stands"""
OTHERS = re.compile(
    r"(captions|stuff|panoptic|image_info|person_keypoints|results?_)", re.IGNORECASE
)
"""documents of COCO's that are no boxes"""


def find_split(root: Path, split: str) -> Source | None:
    """The files of `train` or `val` under `root`; None where they lie otherwise.

    Raises:
        ValueError: several annotation files fit.
    """
    found = [source for name in NAMES[split] for source in _candidates(root, name)]
    found = found or _elsewhere(root, split)
    if len(found) > 1:
        found = [source for source in found if source.images.is_dir()] or found
    if len(found) > 1:
        files = ", ".join(str(source.annotations.relative_to(root)) for source in found)
        raise DataError(
            f"expected one {split} split in {root}, found {files}; "
            f"choose with data.{split}_images and data.{split}_annotations"
        )
    return found[0] if found else None


def find_undivided(root: Path) -> Source | None:
    """`annotations.json` beside `images/`, or else the one document that there is.

    Raises:
        DataError: there are several.
    """
    source = Source(root / "images", root / "annotations.json")
    if source.annotations.is_file():
        return source
    listing = Listing.of(root)
    files = [each for each in _documents(listing) if split_of_document(each) is None]
    if len(files) > 1:
        raise DataError(
            f"expected one annotation file in {root}, found {some(files)}; choose with "
            "data.train_images and data.train_annotations, data.val_images and data.val_annotations"
        )
    return Source(_folder(listing, files[0], ""), root / files[0]) if files else None


def _elsewhere(root: Path, split: str) -> list[Source]:
    """Documents under any other name that has the split in it, or in a folder of the split.

    Or else the one for all, where the pictures lie in folders of the splits.
    """
    listing = Listing.of(root)
    documents = _documents(listing)
    files = documents_of_split(documents, split)
    if files or not documents:
        return [Source(_folder(listing, each, split), root / each) for each in files]
    whole = [each for each in documents if split_of_document(each) is None]
    folders = {split_of_file(each) for each in listing.pictures}
    if len(whole) != 1 or not {"train", "val"} <= folders:
        return []
    return [Source(root, root / whole[0], split)]


def _documents(listing: Listing) -> list[str]:
    """JSON files that begin as COCO's do; those named after a picture are not looked into."""
    stems = {_stem(each) for each in listing.pictures}
    names = [each for each in listing.ending(".json") if each.count("/") <= 2]
    plain = [each for each in names if _stem(each) not in stems and not OTHERS.match(_stem(each))]
    return [each for each in plain if KEYS.search(_head(listing.root / each))]


def _stem(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0]


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(HEAD).replace(b"\0", b"")  # UTF-16 and -32 as well
    except OSError:
        return b""


def _folder(listing: Listing, document: str, split: str) -> Path:
    """Where the pictures of a document are: the folder of the split, or that beside it."""
    head = _head(listing.root / document)
    if b'"coco_url"' in head and b'"file_name"' not in head:  # LVIS, of both folders of COCO's
        return listing.root
    folders = {picture.rpartition("/")[0].rstrip("/") for picture in listing.pictures}
    parts = [each.split("/") for each in folders]
    own = {"/".join(each[:end]) for each in parts for end in range(1, len(each) + 1)}
    beside = document.rpartition("/")[0]
    names = [_stem(document).removeprefix("instances_"), *SPLITS.get(split, ())]
    places = [f"{front}{name}" for name in names for front in ("", "images/", f"{beside}/")]
    places += [f"{beside}/images", beside, "images"]
    there = (place for each in places if (place := each.strip("/")) in own and place)
    return listing.root / next(there, "")


def _candidates(root: Path, name: str) -> list[Source]:
    standard = []
    for file in sorted(root.glob(f"annotations/instances_{name}*.json")):
        folder = file.stem.removeprefix("instances_")
        choices = (root / folder, root / "images" / folder)
        standard.append(Source(next(filter(Path.is_dir, choices), choices[0]), file))
    nested = (
        Source(root / name, root / name / "_annotations.coco.json"),
        Source(root / name / "images", root / name / "annotations.json"),
    )
    return standard + [source for source in nested if source.annotations.is_file()]
