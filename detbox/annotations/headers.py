"""Sizes of pictures from their headers, for formats that do not say them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detbox.annotations.pooling import of_many

Size = tuple[int, int]
"""height, width in pixels"""
TURNED = range(5, 9)
"""EXIF orientations that swap the sides"""


def header_sizes(folder: Path, names: Sequence[str]) -> list[Size | None]:
    """Sizes of upright pictures, read by several threads; None: missing, or no picture."""
    return _sizes([f"{folder}/{name}" for name in names])


def _size(path: str) -> Size | None:
    from PIL import Image

    with Image.open(path) as image:
        width, height = image.size
        turned = image.getexif().get(0x0112, 1) in TURNED
    if min(width, height) < 1:
        return None
    return (width, height) if turned else (height, width)


_sizes = of_many(_size)
