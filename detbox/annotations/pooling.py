"""Read many files by several threads, each once as long as it does not change."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

THREADS = 16
PIECE = 64
"""files that a thread takes at once"""
Content = TypeVar("Content")


def of_many(read: Callable[[str], Content]) -> Callable[[Sequence[str]], list[Content | None]]:
    """A reader of one file made one of many; None: the file is missing, or reading it failed.

    A process remembers what it read as long as files do not change.
    """

    @lru_cache(maxsize=2**18)
    def remembered(path: str, length: int, changed: int) -> Content | None:
        # Decoders of broken files raise whatever they trip over.
        try:
            return read(path)
        except Exception:
            return None

    def each(path: str) -> Content | None:
        try:
            state = os.stat(path)
        except (OSError, ValueError):
            return None
        return remembered(path, state.st_size, state.st_mtime_ns)

    def every(paths: Sequence[str]) -> list[Content | None]:
        with ThreadPoolExecutor(THREADS) as pool, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of huge or odd pictures, which decoding will tell
            pieces = [paths[start : start + PIECE] for start in range(0, len(paths), PIECE)]
            return [
                content
                for piece in pool.map(lambda some: [*map(each, some)], pieces)
                for content in piece
            ]

    return every
