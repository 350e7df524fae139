"""What the headers of pictures say, and what decoding them meets; neither keeps a picture."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from torch.utils.data import DataLoader, Dataset, Subset

from detbox.annotations.headers import TURNED, Size
from detbox.annotations.pooling import of_many
from detbox.annotations.split import Split
from detbox.data.images import Reading, UnreadableImageError, decode
from detbox.data.transforms import Display
from detbox.machine import available_cores

MANY = 2048
"""headers that are read at once"""
TAIL = 4096
"""bytes at the end, in which a whole file says that it ends"""
ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
FEW = 64
"""pictures that are decoded in this process"""


class File(NamedTuple):
    """A picture's header."""

    kind: str
    """as Pillow calls the format; empty: none of its formats"""
    size: Size
    """height, width as stored"""
    orientation: int = 1
    """of EXIF"""
    ends: bool = True
    """False: it seems to be cut off"""
    missing: bool = False

    @property
    def upright(self) -> Size:
        """Height, width as it is to be looked at."""
        return self.size[::-1] if self.orientation in TURNED else self.size


def read_files(split: Split, advance: Callable[[int], object]) -> list[File]:
    """The headers of all pictures.

    Args:
        split: whose pictures.
        advance: told after some of them how many they were.
    """
    found: list[File] = []
    for start in range(0, split.num_images, MANY):
        chosen = range(start, min(start + MANY, split.num_images))
        paths = [str(split.path(index)) for index in chosen]
        for path, file in zip(paths, _headers(paths), strict=True):
            found.append(file or File("", (0, 0), missing=not os.path.exists(path)))
        advance(len(chosen))
    return found


def decoded(
    split: Split, images: Sequence[int], reading: Reading, display: Display, workers: int
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """What decoding pictures meets, one after the other; nothing where all is well.

    Args:
        split: whose pictures.
        images: positions of those.
        reading: how a training reads them.
        display: and shows them.
        workers: processes, if there are many pictures.
    """
    troubles = _Troubles(split, reading, display)
    count = min(workers, available_cores()) if len(images) > FEW else 0
    loader: DataLoader[tuple[str, ...]] = DataLoader(
        Subset(troubles, images), batch_size=None, num_workers=count
    )
    yield from zip(images, loader, strict=True)


class _Troubles(Dataset[tuple[str, ...]]):
    """By position; a data set, so that a loader's processes can decode."""

    def __init__(self, split: Split, reading: Reading, display: Display) -> None:
        self._split, self._reading, self._display = split, reading, display

    def __getitem__(self, index: int) -> tuple[str, ...]:
        """What is wrong with the pixels; sizes are told by headers."""
        path, annotated = self._split.path(index), self._split.size(index)
        try:
            return decode(path, annotated, self._reading, self._display.size).troubles
        except UnreadableImageError as error:
            return (error.reason,)


def _header(path: str) -> File:
    with Image.open(path) as image:
        kind, (width, height) = image.format or "", image.size
        # Of the base class: that of PNG would decode all pixels to look for EXIF behind them.
        turned = 1 if kind == "TIFF" else Image.Image.getexif(image).get(0x0112, 1)
    return File(kind, (height, width), int(turned), _ends(Path(path), kind))


def _ends(path: Path, kind: str) -> bool:
    if kind not in ENDS:
        return True
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        return ENDS[kind] in file.read()


_headers = of_many(_header)
