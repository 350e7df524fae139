"""Sizes of pictures from their headers, for formats that do not say them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

Size = tuple[int, int]
"""height, width in pixels"""
THREADS = 16
PIECE = 64
"""files that a thread takes at once"""
TURNED = range(5, 9)
"""EXIF orientations that swap the sides"""


def header_sizes(folder: Path, names: Sequence[str]) -> list[Size | None]:
    """Sizes of upright pictures, read by several threads; None: missing, or no picture.

    A process remembers them as long as files do not change.
    """
    with ThreadPoolExecutor(THREADS) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of huge or odd pictures, which decoding will tell
        pieces = [names[start : start + PIECE] for start in range(0, len(names), PIECE)]
        read = pool.map(lambda piece: [_size(f"{folder}/{name}") for name in piece], pieces)
        return [size for piece in read for size in piece]


def _size(path: str) -> Size | None:
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        return None
    return _remembered(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=2**18)
def _remembered(path: str, length: int, changed: int) -> Size | None:
    from PIL import Image

    # Decoders of broken files raise whatever they trip over.
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112, 1) in TURNED
    except Exception:
        return None
    if min(width, height) < 1:
        return None
    return (width, height) if turned else (height, width)
