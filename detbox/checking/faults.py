"""Which pictures of a split are not as annotated, by their headers and what decoding met."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from detbox.checking.subject import Part
from detbox.data.images import (
    TRUNCATED,
    MissingImageError,
    TooLargeImageError,
    UnreadableImageError,
)

SAME_SHAPE = 0.01
"""largest relative difference of two ratios of width to height"""
FATAL = {each.reason for each in (UnreadableImageError, MissingImageError, TooLargeImageError)}
"""why a file gives no picture at all"""
SIBLINGS = {"MPO": "JPEG", "DIB": "BMP"}
"""formats that are others as well"""
SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2"}
"""of formats that are called otherwise"""


def unreadable(part: Part) -> np.ndarray:
    """(N,) missing, no picture, or not to be decoded."""
    hit: np.ndarray = np.array([not file.kind for file in part.files], dtype=bool)
    hit[[image for image, told in part.troubles.items() if not FATAL.isdisjoint(told)]] = True
    return hit


def truncated(part: Part) -> np.ndarray:
    """(N,) decoded as far as they go."""
    return met(part, TRUNCATED)


def other_size(part: Part) -> np.ndarray:
    """(N,) of another size than annotated, but of its shape."""
    hit: np.ndarray = _differs(part) & ~other_shape(part)
    return hit


def other_shape(part: Part) -> np.ndarray:
    """(N,) of another ratio of width to height than annotated."""
    sizes = np.array([shown_size(part, image) for image in range(part.split.num_images)])
    ratios = (sizes[:, 1] / sizes[:, 0].clip(1)) / (part.split.sizes[:, 1] / part.split.sizes[:, 0])
    far = np.abs(ratios - 1) > SAME_SHAPE
    hit: np.ndarray = _differs(part) & far
    return hit


def shown_size(part: Part, image: int) -> tuple[int, int]:
    """Height and width of a picture as detbox takes it, for the annotated one of two ways."""
    file = part.files[image]
    return file.size if part.split.size(image) == file.size else file.upright


def right_suffix(part: Part, image: int) -> str | None:
    """What a file's name should end in; None: it does."""
    suffix = Path(part.split.names[image]).suffix.lower()
    named = Image.registered_extensions().get(suffix, "")
    kind, named = (SIBLINGS.get(each, each) for each in (part.files[image].kind, named))
    if not kind or named in ("", kind):
        return None
    return SUFFIXES.get(kind, f".{kind.lower()}")


def turned(part: Part) -> np.ndarray:
    """(N,) EXIF says that they are not upright as stored."""
    return np.array([file.orientation != 1 for file in part.files], dtype=bool)


def surely_upright(part: Part) -> np.ndarray:
    """(N,) turned ones whose boxes are of the upright picture.

    The annotated size says so; of squares and half turns it tells nothing, they are as all the
    others are, if those agree.
    """
    tells = np.array([file.size != file.upright for file in part.files], dtype=bool)
    stored = np.array([file.size for file in part.files]).reshape(-1, 2)
    upright = tells & (stored != part.split.sizes).any(1)
    agree = tells.any() and bool(upright[tells].all())
    hit: np.ndarray = upright | (turned(part) & ~tells & agree)
    return hit


def met(part: Part, trouble: str) -> np.ndarray:
    """(N,) in whose decoding that was met."""
    hit: np.ndarray = np.zeros(len(part.files), dtype=bool)
    hit[[image for image, told in part.troubles.items() if trouble in told]] = True
    return hit


def _differs(part: Part) -> np.ndarray:
    hits = [
        shown_size(part, image) != part.split.size(image) for image in range(part.split.num_images)
    ]
    hit: np.ndarray = np.array(hits, dtype=bool) & ~unreadable(part)
    return hit
