"""Pictures that show the same, or nearly so: copies, other sizes and encodings, next frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detbox.annotations.pooling import of_many

SIDE = 12
"""of the thumbnail by which pictures are compared, in pixels"""
ALIKE = 0.95
"""correlation of thumbnails from which on pictures are alike"""
FLAT = 24.0
"""norm of a thumbnail, in grey levels, below which it is noise more than a picture"""
SCALE = 1000
"""thumbnails are whole numbers, so that sums are exact: no machine groups them otherwise"""
BLOCK = 128
"""pictures that are compared with all others at once"""


def near_duplicates(paths: Sequence[Path]) -> list[list[int]]:
    """Groups of two or more pictures that are alike, as positions; no picture is in two of them.

    Grey thumbnails are compared, whatever their brightness and contrast. A crop by 2 %, half the
    size or JPEG at quality 30 are alike, a turn by 2 degrees is not. Whoever is alike to one of a
    group is in it, so a slow video may be one group. Pictures that cannot be read are in none.

    Args:
        paths: of N pictures; each is decoded once in a process, JPEG at an eighth where that will
            do.
    """
    prints = enumerate(_prints([str(path) for path in paths]))
    read = {position: each for position, each in prints if each is not None}
    if not read:
        return []
    groups: dict[int, list[int]] = {}
    for position, group in zip(read, _linked(np.stack(list(read.values()))), strict=True):
        groups.setdefault(group, []).append(position)
    return sorted(each for each in groups.values() if len(each) > 1)


def _print(path: str) -> np.ndarray:
    """What a picture is compared by, (SIDE ** 2 + 1,) float32 of whole numbers."""
    grey = _thumbnail(path)
    shape = grey.ravel() - grey.mean()
    norm = float(np.linalg.norm(shape))
    flat = max(0.0, 1 - norm / FLAT)
    parts = (shape / max(norm, FLAT), [flat * grey.mean() / 64])
    whole: np.ndarray = np.rint(SCALE * np.concatenate(parts)).astype(np.float32)
    return whole


def _thumbnail(path: str) -> np.ndarray:
    """(SIDE, SIDE) float64 grey levels up to 255, upright."""
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        image.draft("L", (4 * SIDE, 4 * SIDE))
        deep = image.mode.startswith(("I", "F"))
        grey = ImageOps.exif_transpose(image).convert("F" if deep else "L")
        levels = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64)
    return levels * 255 / max(float(np.abs(levels).max()), 1e-9) if deep else levels


def _linked(prints: np.ndarray) -> list[int]:
    """Number of each one's group: all that a chain of likeness joins."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    groups = np.arange(len(prints), dtype=np.int32)
    half = (prints**2).sum(1, keepdims=True) / 2
    ones = np.ones_like(half)
    left, right = np.hstack((prints, -half, -ones)), np.hstack((prints, ones, half))
    # Half of the squared distance; of plain pictures that is 1 less the correlation.
    slack = (1 - ALIKE) * SCALE**2
    for start in range(0, len(prints), BLOCK):
        rows = slice(start, start + BLOCK)
        near = left[rows] @ right[start:].T >= -slack
        near &= groups[rows, None] != groups[start:]
        ours, others = np.nonzero(near)
        if len(ours):
            links = (groups[rows][ours], groups[start:][others])
            graph = coo_array((np.ones(len(ours), bool), links), shape=2 * (groups.max() + 1,))
            groups = connected_components(graph, directed=False)[1][groups]
    return list(map(int, groups))


_prints = of_many(_print)
