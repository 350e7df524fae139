"""Rectangles and tags in sizes that suit the picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from PIL import Image, ImageDraw

from detbox.evaluation.fonts import runs
from detbox.messages import printable

Color = tuple[int, int, int]
Point = tuple[float, float]
Rectangle = tuple[float, float, float, float]
"""left, top, right, bottom in pixels"""

DARK: Color = (20, 22, 26)
LIGHT: Color = (255, 255, 255)


class Canvas:
    """A picture to draw on, which it changes."""

    def __init__(self, picture: Image.Image) -> None:
        self.size = picture.size
        self.pen = ImageDraw.Draw(picture, "RGBA")
        scale = (picture.width * picture.height) ** 0.5
        self.width = max(1, round(scale / 200))
        self.font_size = max(9, round(scale / 36))
        self.tags: list[Rectangle] = []

    def solid(self, box: Sequence[float], color: Color) -> None:
        """A faintly filled rectangle with a dark rim, which shows on any background."""
        left, top, right, bottom = self._visible(box)
        rim = (left - 1, top - 1, right + 1, bottom + 1)
        self.pen.rectangle(rim, outline=(*DARK, 130), width=self.width + 2)
        inside = (left, top, right, bottom)
        self.pen.rectangle(inside, fill=(*color, 28), outline=color, width=self.width)

    def dashed(self, box: Sequence[float], color: Color) -> None:
        """A white rectangle with coloured dashes."""
        left, top, right, bottom = self._visible(box)
        self.pen.rectangle((left, top, right, bottom), outline=LIGHT, width=self.width)
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        for start, end in pairwise(corners):
            for dash in _dashes(start, end, 5.0 * self.width):
                self.pen.line(dash, fill=color, width=self.width)

    def tag(self, box: Sequence[float], text: str, color: Color, *, below: bool = False) -> None:
        """Text on a coloured field at a corner of the box; left out where it would hide another."""
        if not text:
            return
        pieces = runs(printable(text), self.font_size)
        lines = [font.getmetrics() for _, font in pieces]
        ascent, descent = (max(line[side] for line in lines) for side in (0, 1))
        widths = [self.pen.textlength(piece, font) for piece, font in pieces]
        size = (sum(widths) + self.font_size // 2, float(ascent + descent))
        field = self._free_place(self._visible(box), size, below)
        if field is None:
            return
        self.tags.append(field)
        self.pen.rectangle(field, fill=(*color, 235))
        left, base = field[0] + self.font_size // 4, field[1] + ascent
        for (piece, font), width in zip(pieces, widths, strict=True):
            self.pen.text((left, base), piece, fill=_ink(color), font=font, anchor="ls")
            left += width

    def _visible(self, box: Sequence[float]) -> Rectangle:
        """The part of a box on the canvas; at least a point, whatever was predicted."""
        (width, height), (x0, y0, x1, y1) = self.size, box
        left, right = sorted(min(max(x, 0.0), width - 1.0) for x in (x0, x1))
        top, bottom = sorted(min(max(y, 0.0), height - 1.0) for y in (y0, y1))
        return left, top, right, bottom

    def _free_place(self, box: Rectangle, size: Point, below: bool) -> Rectangle | None:
        """The first corner of the box where the tag touches no other."""
        width, height = self.size
        for x, y in _corners(box, size, below):
            left = max(0.0, min(x, width - 1 - size[0]))
            top = max(0.0, min(y, height - 1 - size[1]))
            field = (left, top, left + size[0], top + size[1])
            if not any(_touch(field, other) for other in self.tags):
                return field
        return None


def _corners(box: Rectangle, size: Point, below: bool) -> list[Point]:
    """Top left points of a tag outside and inside of the corners, the preferred ones first."""
    (left, top, right, bottom), (width, height) = box, size
    above_box, in_top, in_bottom, under_box = top - height, top, bottom - height, bottom
    order = [above_box, in_top, under_box, in_bottom]
    if above_box < 0:
        order = [in_top, under_box, in_bottom]
    if below:
        order = [under_box, in_bottom, in_top, above_box]
    return [(x, y) for y in order for x in (left, right - width)]


def _dashes(start: Point, end: Point, step: float) -> Iterator[tuple[Point, Point]]:
    """Every other piece of length `step` along a horizontal or vertical line."""
    (x0, y0), (x1, y1) = start, end
    length = max(abs(x1 - x0), abs(y1 - y0))
    for position in range(0, int(length), max(1, int(2 * step))):
        near, far = position / length, min(1.0, (position + step) / length)
        yield (
            (x0 + near * (x1 - x0), y0 + near * (y1 - y0)),
            (x0 + far * (x1 - x0), y0 + far * (y1 - y0)),
        )


def _touch(first: Rectangle, second: Rectangle) -> bool:
    apart = first[2] <= second[0] or second[2] <= first[0]
    return not (apart or first[3] <= second[1] or second[3] <= first[1])


def _ink(field: Color) -> Color:
    """Dark text on light fields, light text on dark ones (luma of ITU-R BT.601)."""
    red, green, blue = field
    return DARK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else LIGHT
