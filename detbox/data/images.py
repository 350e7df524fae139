"""Decode pictures of any kind to uint8 RGB.

Pillow decodes: it reads every format and half of a broken file, and with libjpeg-turbo inside it is
as fast on JPEG as `torchvision.io`, which has been deprecated.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFile
from torch import Tensor

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
OTHER_SIZE = "not of the annotated size, boxes taken as shares of the annotated size"


class UnreadableImageError(DetboxError, OSError):
    """A picture that is missing or cannot be decoded."""


class Picture(NamedTuple):
    """A decoded file."""

    pixels: Tensor
    """(3, H, W) uint8 RGB in channels-last strides"""
    troubles: tuple[str, ...]
    """what was wrong with the file; empty: nothing"""


def read_image(source: str | Path | Image.Image | np.ndarray) -> Tensor:
    """A picture as uint8 RGB, (3, H, W), turned upright where EXIF says so.

    Args:
        source: a file, a Pillow image, or a uint8 array (H, W) or (H, W, 1 | 3 | 4) in RGB order.

    Raises:
        UnreadableImageError: the file is missing or cannot be decoded.
        ValueError: the array is of another type or shape.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _to_tensor(_upright(source))
    picture = decode(Path(source))
    for trouble in picture.troubles:
        logger.warning("%s: %s", source, trouble)
    return picture.pixels


def decode(path: Path, annotated: tuple[int, int] | None = None) -> Picture:
    """Decode a file.

    Annotation tools draw on raw or on upright pixels, so the annotated size decides whether the
    EXIF rotation is applied; without one it is.

    Args:
        path: the file.
        annotated: (height, width) of the annotation file.

    Raises:
        UnreadableImageError: the file is missing or cannot be decoded.
    """
    troubles: tuple[str, ...] = ()
    try:
        try:
            pixels = _decode(path, annotated)
        except FileNotFoundError:
            raise
        except (OSError, SyntaxError, ValueError):
            with _lenient():
                pixels = _decode(path, annotated)
            troubles = (TRUNCATED,)
    # Decoders of broken files raise whatever they trip over, from struct.error to IndexError.
    except Exception as error:
        kind = "missing" if isinstance(error, FileNotFoundError) else f"undecodable ({error})"
        raise UnreadableImageError(f"{path} is {kind}; restore the file") from error
    if annotated is not None and tuple(pixels.shape[1:]) != annotated:
        troubles += (OTHER_SIZE,)
    return Picture(pixels, troubles)


def _decode(path: Path, annotated: tuple[int, int] | None) -> Tensor:
    with Image.open(path) as image:
        image.load()
        stored = (image.height, image.width)
        sideways = _orientation(image) >= 5
        if sideways and stored == annotated and stored[0] != stored[1]:
            return _to_tensor(image)
        return _to_tensor(_upright(image))


def _upright(image: Image.Image) -> Image.Image:
    turn = UPRIGHT.get(_orientation(image))
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


def _to_tensor(image: Image.Image) -> Tensor:
    if image.mode.startswith("I"):
        return _from_array((np.asarray(image).astype(np.float64) / 257).clip(0, 255).astype("u1"))
    if image.mode in ("P", "F"):
        # Pillow warns about transparent palettes, and refuses floats, on the way to RGB.
        image = image.convert("RGBA" if image.mode == "P" else "L")
    if image.mode != "RGB":
        image = image.convert("RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _from_array(array: np.ndarray) -> Tensor:
    if array.ndim == 2:
        array = array[..., None]
    expected = array.ndim == 3 and array.shape[-1] in (1, 3, 4) and array.size > 0
    if array.dtype != np.uint8 or not expected:
        raise DataError(
            "expected a uint8 RGB array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), "
            f"got {array.dtype} {array.shape}; scale to 0..255 and put channels last"
        )
    rgb = np.repeat(array, 3, -1) if array.shape[-1] == 1 else array[..., :3]
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)
