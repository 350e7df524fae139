"""Decode pictures of any kind to uint8 RGB; training, evaluation and prediction read by it.

Pillow decodes: it reads every format and half of a broken file, and with libjpeg-turbo inside it is
as fast on JPEG as `torchvision.io`, which has been deprecated.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFile
from torch import Tensor

from detbox.data.modes import eight_bits
from detbox.data.pixel_range import PixelRange, Scaled
from detbox.errors import DataError, DetboxError

logger = logging.getLogger("detbox")

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""what undoes an EXIF orientation; from 5 on, width and height change places"""
TRUNCATED = "truncated, decoded as far as it goes"
FLAT = (
    "comes out flat, darkest and brightest less than 4 of 256 levels apart; look at it, and give "
    "data.pixel_range if it stores more than 8 bits"
)
FLAT_LEVELS = 4
FLAT_STEP = 8
"""pixels between those that are looked at first"""
OTHER_SIZE = "not of the annotated size, boxes taken as shares of the annotated size"


class UnreadableImageError(DetboxError, OSError):
    """A picture that is missing or cannot be decoded."""


class Picture(NamedTuple):
    """A decoded file."""

    pixels: Tensor
    """(3, H, W) uint8 RGB in channels-last strides"""
    troubles: tuple[str, ...]
    """what was wrong with the file; empty: nothing"""

    def with_trouble(self, trouble: str) -> Picture:
        """The same, with one trouble more."""
        return self._replace(troubles=(*self.troubles, trouble))


class Reading(NamedTuple):
    """How pictures are read, the same for training, evaluation and prediction."""

    pixel_range: PixelRange = PixelRange()
    """black and white of more than 8 bits"""


AUTOMATIC = Reading()


def read_image(
    source: str | Path | Image.Image | np.ndarray, reading: Reading = AUTOMATIC
) -> Tensor:
    """A picture as uint8 RGB, (3, H, W), turned upright where EXIF says so.

    Args:
        source: what `read` takes.
        reading: how.

    Raises:
        UnreadableImageError: the file is missing or cannot be decoded.
        ValueError: the array is of another type or shape.
    """
    picture = read(source, reading)
    for trouble in picture.troubles:
        logger.warning("%s: %s", source if isinstance(source, (str, Path)) else "image", trouble)
    return picture.pixels


def read(source: str | Path | Image.Image | np.ndarray, reading: Reading = AUTOMATIC) -> Picture:
    """A picture from wherever it is, upright, with its troubles.

    Args:
        source: a file, a Pillow image, or an array (H, W) or (H, W, 1 | 2 | 3 | 4) in RGB order,
            with alpha last, of bools, integers or floats.
        reading: how; arrays of more than 8 bits are scaled by its rule, as files are.

    Raises:
        UnreadableImageError: the file is missing or cannot be decoded.
        ValueError: the array is of another type or shape.
    """
    if isinstance(source, np.ndarray):
        return _picture(*_from_array(source, reading))
    if isinstance(source, Image.Image):
        image, scaled = eight_bits(source, reading.pixel_range)
        return _picture(_to_array(_upright(image, _orientation(source))), scaled)
    return decode(Path(source), reading=reading)


def decode(
    path: Path, annotated: tuple[int, int] | None = None, reading: Reading = AUTOMATIC
) -> Picture:
    """Decode a file.

    Annotation tools draw on raw or on upright pixels, so the annotated size decides whether the
    EXIF rotation is applied; without one it is.

    Args:
        path: the file.
        annotated: (height, width) of the annotation file.
        reading: how.

    Raises:
        UnreadableImageError: the file is missing or cannot be decoded.
    """
    try:
        try:
            picture = _decode(path, annotated, reading)
        except FileNotFoundError:
            raise
        except (OSError, SyntaxError, ValueError):
            with _lenient():
                picture = _decode(path, annotated, reading)
            picture = picture.with_trouble(TRUNCATED)
    # Decoders of broken files raise whatever they trip over, from struct.error to IndexError.
    except Exception as error:
        kind = "missing" if isinstance(error, FileNotFoundError) else f"undecodable ({error})"
        raise UnreadableImageError(f"{path} is {kind}; restore the file") from error
    if annotated is not None and tuple(picture.pixels.shape[1:]) != annotated:
        return picture.with_trouble(OTHER_SIZE)
    return picture


def _decode(path: Path, annotated: tuple[int, int] | None, reading: Reading) -> Picture:
    with Image.open(path) as image:
        stored = (image.height, image.width)
        shown, scaled = eight_bits(image, reading.pixel_range, partial(Image.open, path))
        # Only now, since some files hold their EXIF block behind the pixels.
        orientation = _orientation(image)
        if orientation >= 5 and stored == annotated and stored[0] != stored[1]:
            orientation = 1
        return _picture(_to_array(_upright(shown, orientation)), scaled)


def _picture(array: np.ndarray, scaled: Scaled | None) -> Picture:
    """From RGB (H, W, 3) and how it was scaled."""
    troubles: tuple[str, ...] = (FLAT,) if _is_flat(array) else ()
    if scaled is not None and scaled.guessed is not None:
        low, high = (f"{level:.10g}" for level in scaled.guessed)
        troubles += (
            f"taken to hold values from {low} to {high}, by the largest one; "
            f"data.pixel_range={low}:{high} takes all pictures so",
        )
    return Picture(torch.from_numpy(array).permute(2, 0, 1), troubles)


def _is_flat(array: np.ndarray) -> bool:
    for part in (array[::FLAT_STEP, ::FLAT_STEP], array):
        spread = part.max((0, 1)).astype(int) - part.min((0, 1))
        if spread.max() >= FLAT_LEVELS:
            return False
    return array.shape[:2] != (1, 1)


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    # A picture is worth reading even where its EXIF block is not.
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:
        return 1


@contextmanager
def _lenient() -> Iterator[None]:
    """Let Pillow return what it could decode of a broken file."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _to_array(image: Image.Image) -> np.ndarray:
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _from_array(array: np.ndarray, reading: Reading) -> tuple[np.ndarray, Scaled]:
    if array.ndim == 2:
        array = array[..., None]
    expected = array.ndim == 3 and array.shape[-1] in (1, 2, 3, 4) and array.size > 0
    if array.dtype.kind not in "buif" or not expected:
        raise DataError(
            "expected an RGB array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of integers or "
            f"floats, got {array.dtype} {array.shape}; put channels last"
        )
    scaled = reading.pixel_range.scale(array[..., : 1 if array.shape[-1] < 3 else 3])
    rgb = np.broadcast_to(scaled.pixels, (*array.shape[:2], 3))
    return np.array(rgb, order="C"), scaled
