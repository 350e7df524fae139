"""Masks of COCO's annotations: the box of one, where there is no other, and how many there are."""

from __future__ import annotations

import mmap
import re
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask

from detbox.annotations.entries import numbers

COMPRESSED = re.compile(r"(?:[P-o]{0,5}[0-O])+")
"""numbers of five bits a character; pycocotools reads beyond the end of any other text"""
LARGEST = 2**31
POLYGON = 6
"""numbers of the smallest polygon, a triangle"""


OUTLINE = re.compile(rb'"segmentation"\s*:\s*[\[{]\s*[^\]}\s]')


def outlines_in(file: Path) -> int:
    """How many annotations of a file have polygons or masks; reading passes over them."""
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as all_:
        wide = b"\0" in all_[:4]  # UTF-16 or -32
        return sum(1 for _ in OUTLINE.finditer(all_[:].replace(b"\0", b"") if wide else all_))


def box_of(segmentation: object) -> list[float] | None:
    """Left, top, width, height in pixels of polygons or of a run-length code; None: of neither."""
    if isinstance(segmentation, dict):
        return _of_runs(segmentation)
    if not isinstance(segmentation, list) or not segmentation:
        return None
    nested = isinstance(segmentation[0], list)
    return _of_polygons(segmentation if nested else [segmentation])


def _of_polygons(polygons: list[Any]) -> list[float] | None:
    """Polygons as flat lists x, y, x, y, ..., or one as a list of pairs."""
    if not all(isinstance(each, list) for each in polygons):
        return None
    if all(len(each) == 2 for each in polygons):
        polygons = [[number for pair in polygons for number in pair]]
    points = [numbers(each) for each in polygons if len(each) >= POLYGON and len(each) % 2 == 0]
    if not points:
        return None
    joined = np.concatenate(points).reshape(-1, 2)
    if not np.isfinite(joined).all():
        return None
    start, end = joined.min(0), joined.max(0)
    return [*start.tolist(), *(end - start).tolist()]


def _of_runs(code: dict[str, Any]) -> list[float] | None:
    size, counts = code.get("size"), code.get("counts")
    if not isinstance(size, list) or len(size) != 2 or set(map(type, size)) != {int}:
        return None
    height, width = size
    if min(size) < 1 or height * width >= LARGEST:
        return None
    if isinstance(counts, list):
        if not set(map(type, counts)) <= {int} or min(counts, default=0) < 0:
            return None
        if sum(counts) != height * width:
            return None
        code = mask.frPyObjects({"size": size, "counts": counts}, height, width)
    elif isinstance(counts, str) and COMPRESSED.fullmatch(counts):
        code = {"size": size, "counts": counts}
    else:
        return None
    box: list[float] = mask.toBbox(code).tolist()
    inside = box[0] + box[2] <= width and box[1] + box[3] <= height
    return box if inside else None
