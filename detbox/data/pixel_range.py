"""From stored values of any type to 8 bits: what is black, and what is white.

Sensors store 10, 12 or 14 bits in files of 16, and few formats say so. The rule has to depend on
the picture as little as it can, or one detector would see another contrast in every frame: the
full scale is the next of 8, 10, 12, 14, 16, ... bits above the largest value, not that value.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from detbox.errors import SettingError

FULL_SCALES = tuple(2.0**bits - 1 for bits in range(8, 33, 2))
OVERSHOOT = 0.05
"""share of the full scale by which floats, once resampled, may leave it"""
BLOCK = 1 << 20
"""values that are scaled at once, so that memory stays near that of the result"""


class Levels(NamedTuple):
    """Stored values that become 0 and 255."""

    black: float
    white: float


UP_TO_14_BITS = Levels(0, 2**14 - 1)


class Scaled(NamedTuple):
    """Values in 8 bits."""

    pixels: np.ndarray
    """uint8, of the shape of the values"""
    guessed: Levels | None
    """what was chosen by the values where neither file nor setting nor type says so"""


class PixelRange(NamedTuple):
    """The rule for values of more than 8 bits, as `data.pixel_range` has it."""

    levels: Levels | None = None
    """the same for every picture; None: of each picture"""
    stretch: bool = False
    """from a picture's least to its largest value, in place of its full scale"""

    @classmethod
    def parse(cls, text: str) -> PixelRange:
        """From `auto`, `minmax`, a number of bits such as `12`, or `LOW:HIGH`.

        Raises:
            SettingError: it is none of them.
        """
        if text in ("auto", "minmax"):
            return cls(stretch=text == "minmax")
        try:
            sides = [float(side) for side in text.split(":")]
        except ValueError:
            sides = []
        if len(sides) == 1 and sides[0] in range(1, 33):
            return cls(Levels(0, 2 ** sides[0] - 1))
        if len(sides) == 2 and -math.inf < sides[0] < sides[1] < math.inf:
            return cls(Levels(*sides))
        raise SettingError(
            f"expected data.pixel_range=auto, minmax, a number of bits from 1 to 32, or LOW:HIGH, "
            f"got {text!r}; try data.pixel_range=12 or data.pixel_range=0:4095"
        )

    def scale(self, values: np.ndarray, stated: float | None = None) -> Scaled:
        """Bring values to 8 bits.

        Args:
            values: integers or floats of any shape; what is not finite becomes black or white.
            stated: the full scale that a file gives itself, which is believed if it fits.
        """
        if values.dtype == np.bool_:
            return Scaled(values.astype(np.uint8) * np.uint8(255), None)
        if values.dtype == np.uint8:
            return Scaled(values, None)
        if self.levels is not None:
            return Scaled(_scaled(values, self.levels), None)
        least, largest = _extremes(values)
        if self.stretch:
            return Scaled(_scaled(values, Levels(least, max(largest, least + 1e-12))), None)
        if stated is not None and least >= 0 and largest <= stated:
            return Scaled(_scaled(values, Levels(0, stated)), None)
        levels = _levels(least, largest, values.dtype)
        if levels == UP_TO_14_BITS and _was_8_bits(values):
            levels = Levels(0, 65535)
        known = levels.white in _usual(values.dtype) and levels.black == 0
        return Scaled(_scaled(values, levels), None if known else levels)


def _levels(least: float, largest: float, kind: np.dtype) -> Levels:
    """The next full scale; below zero too where values lie there."""
    reach = max(largest, -least)
    if kind.kind == "f":
        scales, reach = (1.0, *FULL_SCALES), reach / (1 + OVERSHOOT)
    else:
        scales = tuple(sorted({*FULL_SCALES, float(np.iinfo(kind).max)}))
    white = next((scale for scale in scales if scale >= reach), reach)
    signed = least < -OVERSHOOT * white
    return Levels((-1.0 if white == 1 else -white - 1) if signed else 0.0, white)


def _was_8_bits(values: np.ndarray) -> bool:
    """Whether all are 8-bit values times 256 or 257: dark in 16 bits, rather than bright in 14."""
    return values.dtype.kind in "iu" and any(not (values % step).any() for step in (256, 257))


def _usual(kind: np.dtype) -> tuple[float, ...]:
    """Full scales that need no word: of the type, and 16 bits in 32, as Pillow once gave them."""
    return (1.0,) if kind.kind == "f" else (float(np.iinfo(kind).max), 65535.0)


def _extremes(values: np.ndarray) -> tuple[float, float]:
    least, largest = float(np.fmin.reduce(values, None)), float(np.fmax.reduce(values, None))
    if math.isfinite(least) and math.isfinite(largest):
        return least, largest
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def _scaled(values: np.ndarray, levels: Levels) -> np.ndarray:
    """Round down above 8 bits, as a shift does: v, 256 v and 257 v are then the same 8-bit v."""
    span = levels.white - levels.black
    factor, offset = (256 / (span + 1), 0.0) if span > 255 else (255 / span, 0.5)
    # Integers above 24 bits do not fit into single precision.
    work = np.float32 if values.dtype.itemsize <= 2 else np.float64
    flat, pixels = values.reshape(-1), np.empty(values.size, np.uint8)
    for start in range(0, len(flat), BLOCK):
        block = flat[start : start + BLOCK].astype(work)
        if values.dtype.kind == "f":
            np.nan_to_num(block, False, levels.black, levels.white, levels.black)
        block = (block - levels.black) * work(factor) + work(offset)
        pixels[start : start + BLOCK] = block.clip(0, 255)
    return pixels.reshape(values.shape)
