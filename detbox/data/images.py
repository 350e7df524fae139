"""Decode pictures of any kind to uint8 RGB; training, evaluation and prediction read by it.

Pillow decodes: it reads every format and half of a broken file, and with libjpeg-turbo inside it is
as fast on JPEG as `torchvision.io`, which has been deprecated.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from PIL import Image, ImageFile
from torch import Tensor

from detbox.data.modes import eight_bits
from detbox.data.pixel_range import PixelRange, Scaled
from detbox.data.transforms import LARGE
from detbox.errors import DataError, DetboxError, SettingError

ImageLike: TypeAlias = "str | Path | Image.Image | np.ndarray"
"""whatever a picture is read from"""

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

    reason = "undecodable"


class MissingImageError(UnreadableImageError):
    """A picture that is not there."""

    reason = "missing"


class TooLargeImageError(UnreadableImageError):
    """A picture of more pixels than the settings allow."""

    reason = "of more pixels than data.max_pixels"


class Picture(NamedTuple):
    """A decoded file."""

    pixels: Tensor
    """(3, H, W) uint8 RGB in channels-last strides"""
    size: tuple[int, int]
    """height and width of the file, upright; larger than `pixels` if that was read reduced"""
    troubles: tuple[str, ...]
    """what was wrong with the file; empty: nothing"""

    def with_trouble(self, trouble: str) -> Picture:
        """The same, with one trouble more."""
        return self._replace(troubles=(*self.troubles, trouble))


class Reading(NamedTuple):
    """How pictures are read, the same for training, evaluation and prediction."""

    pixel_range: PixelRange = PixelRange()
    """black and white of more than 8 bits"""
    max_pixels: int = 250_000_000
    """of a file; decoding one takes up to 4 bytes of memory for each"""

    def checked(self) -> Reading:
        """Itself.

        Raises:
            SettingError: there is no positive number of pixels.
        """
        if self.max_pixels < 1:
            raise SettingError(
                f"expected data.max_pixels above 0, got {self.max_pixels}; "
                "try data.max_pixels=250000000"
            )
        return self


AUTOMATIC = Reading()
LeastSize = Callable[[int, int], tuple[int, int]]
"""from height and width of a picture to those at which less would be seen"""
MARGIN = 2
"""a picture that is read reduced keeps so many times the sides that are needed"""
MOST_PER_BYTE = 1100
"""pixels; zlib packs no more of 8 bits, and JPEG at most 512"""


def read(
    source: ImageLike, reading: Reading = AUTOMATIC, least: LeastSize | None = None
) -> Picture:
    """A picture from wherever it is, upright, with its troubles.

    Args:
        source: a file, a Pillow image, or an array (H, W) or (H, W, 1 | 2 | 3 | 4) in RGB order,
            with alpha last, of bools, integers or floats.
        reading: how; arrays of more than 8 bits are scaled by its rule, as files are.
        least: as in `decode`.

    Raises:
        UnreadableImageError: the file is missing or cannot be decoded.
        ValueError: the array is of another type or shape.
    """
    if isinstance(source, np.ndarray):
        return _picture(*_from_array(source, reading))
    if isinstance(source, Image.Image):
        try:
            image, scaled = eight_bits(source, reading.pixel_range)
        except (OSError, SyntaxError, ValueError) as error:
            text = f"the Pillow image is undecodable ({error}); restore its file"
            raise UnreadableImageError(text) from error
        return _picture(_to_array(_upright(image, _orientation(source))), scaled)
    return decode(Path(source), reading=reading, least=least)


def decode(
    path: Path,
    annotated: tuple[int, int] | None = None,
    reading: Reading = AUTOMATIC,
    least: LeastSize | None = None,
) -> Picture:
    """Decode a file.

    Annotation tools draw on raw or on upright pixels, so the annotated size decides whether the
    EXIF rotation is applied; without one it is.

    Args:
        path: the file.
        annotated: (height, width) of the annotation file.
        reading: how.
        least: what will be seen of it; a picture of more than `LARGE` pixels is then read reduced.

    Raises:
        UnreadableImageError: the file is missing, too large, or cannot be decoded.
    """

    try:
        with _pillow():
            return _told(_decode(path, annotated, reading, least), annotated)
    except FileNotFoundError as error:
        raise MissingImageError(f"{path} is missing; restore the file") from error
    except UnreadableImageError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(f"{path} holds a picture", reading) from error
    # Decoders of broken files raise whatever they trip over, from struct.error to IndexError.
    except Exception as error:
        raise UnreadableImageError(f"{path} is undecodable ({error}); restore the file") from error


def _decode(
    path: Path, annotated: tuple[int, int] | None, reading: Reading, least: LeastSize | None
) -> Picture:
    try:
        return _decode_once(path, annotated, reading, least)
    except (FileNotFoundError, UnreadableImageError):
        raise
    except (OSError, SyntaxError, ValueError):
        # Pillow now returns what it could decode of a broken file; `_pillow` takes that back.
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        return _decode_once(path, annotated, reading, least).with_trouble(TRUNCATED)


def _decode_once(
    path: Path, annotated: tuple[int, int] | None, reading: Reading, least: LeastSize | None
) -> Picture:
    with Image.open(path) as image:
        stored = (image.height, image.width)
        if image.height * image.width > reading.max_pixels:
            raise _too_large(f"{path} is a picture of {image.width} x {image.height}", reading)
        if ImageFile.LOAD_TRUNCATED_IMAGES or image.format in ("JPEG", "MPO"):
            _check_promise(stored, path)
        # For the pictures inside of others, as in icons; Pillow refuses at twice this number.
        Image.MAX_IMAGE_PIXELS = max(1, reading.max_pixels // 2)
        reduced = _reduced(stored, least)
        drafted = image.draft(None, reduced) if reduced else None
        shown, scaled = eight_bits(image, reading.pixel_range, partial(Image.open, path))
        if not drafted:
            # Pillow has turned TIFF files upright by now.
            stored = (shown.height, shown.width)
            reduced = _reduced(stored, least)
        if reduced:
            box = drafted[1] if drafted else None
            shown = shown.resize(reduced, Image.Resampling.BILINEAR, box, reducing_gap=3.0)
        # Only now, since some files hold their EXIF block behind the pixels.
        orientation = _orientation(image)
        if orientation >= 5 and stored == annotated and stored[0] != stored[1]:
            orientation = 1
        size = stored if orientation < 5 else stored[::-1]
        return _picture(_to_array(_upright(shown, orientation)), scaled, size)


def _told(picture: Picture, annotated: tuple[int, int] | None) -> Picture:
    other = annotated is not None and picture.size != annotated
    return picture.with_trouble(OTHER_SIZE) if other else picture


def _too_large(what: str, reading: Reading) -> TooLargeImageError:
    return TooLargeImageError(
        f"{what} that has more pixels than data.max_pixels={reading.max_pixels} allows; "
        "store it smaller or in tiles, or raise that limit (4 bytes of memory each)"
    )


def _check_promise(stored: tuple[int, int], path: Path) -> None:
    """Stop before memory is taken for a picture of which next to nothing is there."""
    pixels = stored[0] * stored[1]
    if pixels > LARGE and pixels > path.stat().st_size * MOST_PER_BYTE:
        raise OSError(f"its header promises {pixels} pixels, more than its bytes can hold")


def _reduced(stored: tuple[int, int], least: LeastSize | None) -> tuple[int, int] | None:
    """Width and height to read a large picture at; None: as it is."""
    height, width = stored
    if least is None or height * width <= LARGE:
        return None
    needed = least(height, width)
    divisor = min(height // (MARGIN * needed[0]), width // (MARGIN * needed[1]))
    return (width // divisor, height // divisor) if divisor > 1 else None


def _picture(
    array: np.ndarray, scaled: Scaled | None, size: tuple[int, int] | None = None
) -> Picture:
    """From RGB (H, W, 3), how it was scaled, and height and width before it was reduced."""
    troubles: tuple[str, ...] = (FLAT,) if _is_flat(array) else ()
    if scaled is not None and scaled.guessed is not None:
        low, high = (f"{level:.10g}" for level in scaled.guessed)
        troubles += (
            f"taken to hold values from {low} to {high}, by the largest one; "
            f"data.pixel_range={low}:{high} takes all pictures so",
        )
    height, width = array.shape[:2]
    return Picture(torch.from_numpy(array).permute(2, 0, 1), size or (height, width), troubles)


def _is_flat(array: np.ndarray) -> bool:
    channels = [array[..., channel] for channel in (1, 0, 2)]
    # Nearly every picture is known by a few of its pixels.
    if _levels(channels[0][::FLAT_STEP, ::FLAT_STEP]) >= FLAT_LEVELS or array.shape[:2] == (1, 1):
        return False
    return all(_levels(channel) < FLAT_LEVELS for channel in channels)


def _levels(channel: np.ndarray) -> int:
    """From darkest to brightest."""
    return int(channel.max()) - int(channel.min())


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
def _pillow() -> Iterator[None]:
    """Own limits and words in place of Pillow's, which are global, while a file is read."""
    truncated, most = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = truncated, most


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
