"""Where exporters put COCO's JSON and its images."""

from __future__ import annotations

from pathlib import Path

from detbox.annotations.formats import Source
from detbox.errors import DataError

NAMES = {"train": ("train",), "val": ("val", "valid")}
PLACES = (
    "annotations/instances_train*.json with train*/ (and the same for val), "
    "train/_annotations.coco.json with valid/_annotations.coco.json, "
    "train/annotations.json with train/images/ (and the same for val), "
    "or annotations.json with images/"
)


def find_split(root: Path, split: str) -> Source | None:
    """The files of `train` or `val` under `root`; None where they lie otherwise.

    Raises:
        ValueError: several annotation files fit.
    """
    found = [source for name in NAMES[split] for source in _candidates(root, name)]
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
    """`annotations.json` beside `images/`, a folder without splits."""
    source = Source(root / "images", root / "annotations.json")
    return source if source.annotations.is_file() else None


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
