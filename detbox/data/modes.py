"""Pillow's pictures of every mode to 8-bit grey or RGB.

Pillow gives 16-bit grey as it is, but keeps of 16-bit colour the high bytes alone, which are
black where 10 or 12 bits are stored. Its two readings of byte order give high and low bytes.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np
from PIL import Image

from detbox.data.pixel_range import PixelRange, Scaled

BITS, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
"""TIFF tags (TIFF 6.0, sec. 8 and 19)"""
WHITE_IS_ZERO, UNSIGNED = 0, 1
OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
HIGH_OF_16_BITS = 64
"""least high byte that says that all 16 bits are in use"""
ON_THE_WAY = {"RGBa": "RGBA", "La": "LA", "PA": "RGBA"}
"""modes that Pillow brings to RGB by way of another"""


def eight_bits(
    image: Image.Image,
    pixel_range: PixelRange,
    again: Callable[[], Image.Image] | None = None,
) -> tuple[Image.Image, Scaled | None]:
    """A picture in mode L or RGB.

    Args:
        image: an opened picture, loaded or not.
        pixel_range: the rule for values of more than 8 bits.
        again: opens the same file once more; None: 16-bit colour is left as Pillow has it.

    Returns:
        The picture, and how it was scaled; None: its values are of 8 bits.
    """
    if image.mode.startswith(("I", "F")):
        grey = pixel_range.scale(*_stored(image))
        # Pillow turns 8 bits of such files over, but not 16.
        turned = _tags(image).get(PHOTOMETRIC) == WHITE_IS_ZERO and image.mode.startswith("I")
        return Image.fromarray(255 - grey.pixels if turned else grey.pixels), grey
    codec = _colour_codec(image)
    image.load()
    if codec and again and (scaled := _sixteen_bits(image, codec, pixel_range, again)):
        return Image.fromarray(scaled.pixels), scaled
    if image.mode in ON_THE_WAY:
        image = image.convert(ON_THE_WAY[image.mode])
    wanted = "L" if image.mode in ("1", "L", "LA") else "RGB"
    if image.mode == wanted:
        return image, None
    with warnings.catch_warnings():
        # Of transparent palettes, whose colours are right all the same.
        warnings.simplefilter("ignore", UserWarning)
        return image.convert(wanted), None


def _stored(image: Image.Image) -> tuple[np.ndarray, float | None]:
    """Values (H, W) of one channel in the type of the file, and the full scale that it states."""
    stated = _stated(image)
    values = np.asarray(image)
    tags = _tags(image)
    if image.mode == "I" and BITS in tags:
        bits, unsigned = tags[BITS][0], tags.get(SAMPLE_FORMAT, (UNSIGNED,))[0] == UNSIGNED
        if bits == 32 and unsigned:
            values = values.view(np.uint32)
        elif bits == 16:
            values = values.astype(np.int16)
    return values, stated


def _stated(image: Image.Image) -> float | None:
    """The full scale of a file that says it."""
    if image.format == "PPM" and image.mode == "I":
        return 65535.0  # Pillow scales by the header's largest value
    bits = _tags(image).get(BITS, (16,))[0]
    if image.format == "PNG":
        bits = _significant_bits(getattr(image, "fp", None))
    return 2.0**bits - 1 if 8 < bits < 16 else None


def _tags(image: Image.Image) -> Mapping[int, Any]:
    """Of a TIFF file; of another, none."""
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    return tags


def _significant_bits(file: IO[bytes] | None) -> int:
    """What the sBIT chunk of a PNG file says of its first channel, else 16."""
    if file is None or file.closed:
        return 16
    place = file.tell()
    try:
        file.seek(8)
        while len(head := file.read(8)) == 8 and head[4:] not in (b"IDAT", b"IEND"):
            if head[4:] == b"sBIT":
                return (file.read(1) or b"\x10")[0]
            file.seek(int.from_bytes(head[:4], "big") + 4, 1)
        return 16
    finally:
        file.seek(place)


def _colour_codec(image: Image.Image) -> str:
    """Pillow's name of the layout of 16-bit colour in a file that is not loaded yet, else ''."""
    tiles = getattr(image, "tile", [])
    args = tiles[0][3] if tiles else ""
    name = str(args[0] if isinstance(args, tuple) and args else args)
    known = ("RGB;16", "RGBA;16", "RGBX;16", "LA;16")
    return name if name.startswith(known) else ""


def _sixteen_bits(
    image: Image.Image,
    codec: str,
    pixel_range: PixelRange,
    again: Callable[[], Image.Image],
) -> Scaled | None:
    """16-bit colour scaled by the rule; None: the high bytes, which Pillow gives, are right."""
    stated = _stated(image)
    colours = 1 if codec.startswith("LA") else 3
    high = np.asarray(image)[..., :colours]
    automatic = pixel_range == PixelRange()
    if automatic and high.size and high.max() >= HIGH_OF_16_BITS:
        return None
    with again() as other:
        if colours == 1:
            # Four bytes of grey with alpha, read as if they were RGBA of 8 bits.
            _use_codec(other, "RGBA")
            low = np.asarray(other)[..., 1:2]
        else:
            _use_codec(other, codec[:-1] + OTHER_ORDER[codec[-1]])
            low = np.asarray(other)[..., :colours]
    values = high.astype(np.uint16) << 8 | low
    return pixel_range.scale(values[..., 0] if colours == 1 else values, stated)


def _use_codec(image: Image.Image, codec: str) -> None:
    """Let Pillow take the bytes of a file for another layout."""

    def changed(args: object) -> object:
        return (codec, *args[1:]) if isinstance(args, tuple) else codec

    # Up to Pillow 10, a tile was a plain tuple.
    image.tile = [  # type: ignore[attr-defined]
        getattr(type(tile), "_make", tuple)((*tile[:3], changed(tile[3])))
        for tile in image.tile  # type: ignore[attr-defined]
    ]
