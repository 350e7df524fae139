"""COCO's JSON, for boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from detbox.annotations.coco_classes import ClassList, read_classes
from detbox.annotations.coco_images import URL, ImageList, read_images
from detbox.annotations.coco_places import PLACES, find_split, find_undivided
from detbox.annotations.coco_writer import COCO
from detbox.annotations.columns import Columns
from detbox.annotations.document import read_document
from detbox.annotations.entries import Entry, flags, keys_of, numbers
from detbox.annotations.findings import Finding, found
from detbox.annotations.formats import Format, Source
from detbox.annotations.listing import Listing
from detbox.annotations.packing import Objects, Unknown, pack, with_findings
from detbox.annotations.pairing import Pictures, split_of_file
from detbox.annotations.split import Split
from detbox.errors import DataError
from detbox.registry import FORMATS
from detbox.structures import LabelSpace


@FORMATS.register("coco")
def coco() -> Format:
    """COCO detection: one JSON per split."""
    return Format(PLACES, find_split, find_undivided, read_coco, writer=COCO, documents_alone=True)


def read_coco(source: Source) -> Split:
    """Read a COCO annotation file.

    Any encoding of Unicode is read; numbers may be written as text, and ids may be any text.
    `info`, `licenses`, `annotations` and an object's `id`, `iscrowd` and `area` may be missing or
    null; a missing `bbox` is taken from the mask.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no COCO annotation file, an entry cannot be read, or no annotation is left
            to learn from.
    """
    file = source.annotations
    document = read_document(file)
    if source.split:
        document = _of_split(document, source)
    classes = read_classes(document["categories"], file)
    images = read_images(document["images"], file)
    objects, unknown, masked = _objects(document["annotations"], images, classes, file)
    del document  # a GB of a large file
    total = len(objects.owners)
    split = pack(file, source.images, classes.space, images.images, objects, unknown)
    split = with_findings(split, *images.findings, *classes.findings, *masked)
    if total:
        return split
    return with_findings(split, Finding("annotations: all figures are undefined", 0, file.name))


def read_categories(file: Path) -> LabelSpace:
    """The classes of a COCO annotation file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no COCO annotation file.
    """
    return read_classes(read_document(file, ("categories",))["categories"], file).space


def _of_split(document: dict[str, Any], source: Source) -> dict[str, Any]:
    """Without the images, and their annotations, that lie in another split's folder.

    Raises:
        DataError: no image is left.
    """
    pictures = Pictures(Listing.of(source.images))

    def split_of(entry: Entry) -> str | None:
        name = entry.get("file_name") or entry.get(URL)
        return split_of_file(pictures.find(name) or name) if isinstance(name, str) else None

    own = [split_of(entry) == source.split for entry in document["images"]]
    keys = keys_of([entry.get("id") for entry in document["images"]])
    others = {key for key, is_own in zip(keys, own, strict=True) if not is_own}
    images = [entry for entry, is_own in zip(document["images"], own, strict=True) if is_own]
    if not images:
        raise DataError(
            f"{source.annotations} lists no image that lies in a folder of {source.split}; "
            f"choose with data.{source.split}_images and data.{source.split}_annotations"
        )
    owners = keys_of(document["annotations"].column("image_id"))
    kept = document["annotations"].where([owner not in others for owner in owners])
    return {**document, "images": images, "annotations": kept}


def _objects(
    listed: Columns, images: ImageList, classes: ClassList, file: Path
) -> tuple[Objects, Unknown, tuple[Finding, ...]]:
    """The annotations, what their unknown references are, and what was read otherwise."""
    image_ids, category_ids = listed.column("image_id"), listed.column("category_id")
    owners, labels = images.ids.positions(image_ids), classes.ids.positions(category_ids)
    images.ids.refuse_shifted(image_ids, owners, file)
    classes.ids.refuse_shifted(category_ids, labels, file)
    boxes, masked = listed.boxes()
    objects = Objects(
        owners=owners,
        labels=labels,
        boxes=boxes,
        areas=numbers(listed.column("area")),
        crowd=flags(listed.column("iscrowd"), listed.places(file)),
        ids=np.fromiter(keys_of(listed.column("id")), dtype=object, count=len(listed)),
        outlined=np.zeros(len(listed), dtype=bool),  # as `outlines_in` counts them
    )
    unknown = Unknown(images.ids.mend(image_ids, owners), classes.ids.mend(category_ids, labels))
    findings = found(
        "boxes taken from masks, where there was no bbox",
        masked,
        lambda position: f"annotations[{position}]",
        defect=False,
    )
    return objects, unknown, findings
