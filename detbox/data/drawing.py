"""Draw a scene of overlapping shapes on a textured background.

Outlines are rasterised four times too large and reduced, so that edges are smooth; each shape is
painted in a patch of its own size.
"""

from __future__ import annotations

import colorsys
import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

NAMES = ("circle", "square", "triangle", "star", "ring", "cross")
SUPERSAMPLING = 4
REFERENCE = 128
"""pixels of a picture that the sizes below are meant for"""
SHAPE_SIZES = (24.0, 64.0)
HUE_SPREAD = 0.06
"""around the typical hue of a class, as fruit has it: a small detector learns within minutes"""
TILT = math.pi / 12
"""largest rotation"""
OBJECTS = (2, 5)
MIN_VISIBLE = 0.6
"""share of a shape that later ones must leave to be seen"""
MIN_INSIDE = 0.7
"""share of a shape inside the picture"""
PLACEMENTS = 12


class Scene(NamedTuple):
    """A picture and what is in it."""

    pixels: np.ndarray
    """(H, W, 3) uint8"""
    labels: list[int]
    boxes: list[tuple[float, float, float, float]]
    """xywh in pixels: the whole shape, hidden parts too, clipped to the picture"""


def draw_scene(size: int, random: np.random.Generator) -> Scene:
    """A square picture of `size` pixels with two to five shapes."""
    canvas = _background(size, random)
    owner = np.zeros((size, size), dtype=np.int64)
    areas: list[int] = []
    labels, boxes = [], []
    for _ in range(int(random.integers(OBJECTS[0], OBJECTS[1] + 1))):
        label = int(random.integers(len(NAMES)))
        low, high = (side * size / REFERENCE for side in SHAPE_SIZES)
        side = float(np.exp(random.uniform(math.log(low), math.log(high))))
        patch = _patch(NAMES[label], side, random)
        corner = _place(patch.alpha, owner, areas, random)
        if corner is None:
            continue
        areas.append(int((patch.alpha > 0.5).sum()))
        _mark(owner, patch.alpha, corner, len(areas))
        _paint(canvas, patch, corner)
        labels.append(label)
        boxes.append(_box(patch.alpha, corner, size))
    noise = random.normal(0, 2.0, canvas.shape)
    return Scene((canvas + noise).round().clip(0, 255).astype(np.uint8), labels, boxes)


class _Patch(NamedTuple):
    colour: np.ndarray
    """(h, w, 3) 0..255"""
    alpha: np.ndarray
    """(h, w) coverage of the shape"""
    shadow: np.ndarray
    """(h, w) darkness around it"""


def _background(size: int, random: np.random.Generator) -> np.ndarray:
    """A gradient between two muted colours, with soft clouds and sometimes stripes."""
    angle = random.uniform(0, 2 * math.pi)
    ramp = np.linspace(-0.5, 0.5, size)
    along = math.cos(angle) * ramp[None, :] + math.sin(angle) * ramp[:, None]
    light = random.uniform(0.3, 0.9)
    first, second = (
        _colour(random.uniform(), random.uniform(0.05, 0.3), light + random.uniform(-0.15, 0.1))
        for _ in range(2)
    )
    share = (along + 0.7)[..., None].clip(0, 1.4) / 1.4
    canvas = first * (1 - share) + second * share
    texture = 14 * _clouds(size, int(random.integers(3, 7)), random)
    texture += 8 * _clouds(size, size // 5, random)
    if random.random() < 0.4:
        period = random.uniform(6, 16) * size / REFERENCE
        across = (math.cos(angle) * ramp[:, None] - math.sin(angle) * ramp[None, :]) * size
        texture += 6 * np.sin(2 * math.pi * across / period)
    textured: np.ndarray = canvas + texture[..., None]
    return textured


def _clouds(size: int, cells: int, random: np.random.Generator) -> np.ndarray:
    """Smooth noise of about unit range."""
    coarse = random.uniform(-1, 1, (cells + 2, cells + 2)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def _patch(name: str, side: float, random: np.random.Generator) -> _Patch:
    """One shape with shading, a dark rim and a soft shadow."""
    rotation = random.uniform(-TILT, TILT)
    margin = max(2, round(side * 0.12))
    extent = math.ceil(side * 1.05) + 2 * margin
    rim = max(1.2, side * 0.055)
    outer = _coverage(name, side / 2, rotation, extent)
    inner = _coverage(name, side / 2, rotation, extent, inset=rim)

    hue = NAMES.index(name) / len(NAMES) + random.normal(0, HUE_SPREAD)
    fill = _colour(hue % 1, random.uniform(0.55, 0.95), random.uniform(0.7, 1.0))
    row, column = np.mgrid[0:extent, 0:extent] / extent - 0.5
    shade = 1 - 0.45 * (row + column)[..., None]
    glint = np.exp(-((row + 0.18) ** 2 + (column + 0.18) ** 2) / 0.02)[..., None]
    lit = fill * shade + 45 * glint
    colour = lit * inner[..., None] + 0.45 * fill * (1 - inner[..., None])

    shadow = Image.fromarray((outer * 255).astype(np.uint8))
    shadow = shadow.filter(ImageFilter.GaussianBlur(margin / 2.5))
    offset = max(1, margin // 2)
    dark = np.zeros_like(outer)
    dark[offset:, offset:] = np.asarray(shadow)[:-offset, :-offset] / 255
    return _Patch(colour, outer, 0.4 * dark)


def _coverage(
    name: str, radius: float, rotation: float, extent: int, inset: float = 0.0
) -> np.ndarray:
    """Share of each pixel inside the outline, (extent, extent); `inset` pixels are shaved off."""
    image = Image.new("L", (extent * SUPERSAMPLING,) * 2)
    draw = ImageDraw.Draw(image)
    center = extent / 2

    def disc(size: float, value: int) -> None:
        low, high = ((center + sign * size) * SUPERSAMPLING for sign in (-1, 1))
        draw.ellipse((low, low, high, high), fill=value)

    if name in ("circle", "ring"):
        disc(radius - inset, 255)
        if name == "ring":
            disc(radius * 0.5 + inset, 0)
    else:
        outline = _outline(name, rotation) * radius + center
        draw.polygon([tuple(point) for point in (outline * SUPERSAMPLING).tolist()], fill=255)
        if inset:
            width = round(2 * inset * SUPERSAMPLING)
            points = [tuple(point) for point in (outline * SUPERSAMPLING).tolist()]
            draw.line([*points, points[0], points[1]], fill=0, width=width, joint="curve")
    return np.asarray(image.reduce(SUPERSAMPLING), dtype=np.float64) / 255


def _outline(name: str, rotation: float) -> np.ndarray:
    """Corners inside the unit circle, (P, 2)."""
    if name == "star":
        return _ray(rotation, np.arange(10), 10, np.tile((1.0, 0.45), 5))
    if name == "cross":
        arm = 0.36
        profile = [(arm, 1.0), (arm, arm), (1.0, arm)]
        quarter = np.array(profile) / math.hypot(1, arm)
        turns = [quarter @ _turn(rotation + k * math.pi / 2).T for k in range(4)]
        return np.concatenate([turn[::-1] for turn in turns])
    if name == "square":
        return _ray(rotation + math.pi / 4, np.arange(4), 4, np.ones(4))
    return _ray(rotation, np.arange(3), 3, np.ones(3))


def _ray(rotation: float, step: np.ndarray, steps: int, radius: np.ndarray) -> np.ndarray:
    angle = rotation - math.pi / 2 + step * 2 * math.pi / steps  # the first corner points up
    ray: np.ndarray = np.stack((np.cos(angle), np.sin(angle)), 1) * radius[:, None]
    return ray


def _turn(angle: float) -> np.ndarray:
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array(((cosine, -sine), (sine, cosine)))


def _place(
    alpha: np.ndarray, owner: np.ndarray, areas: list[int], random: np.random.Generator
) -> tuple[int, int] | None:
    """A corner (top, left) that leaves enough of every shape to be seen; None: none was found."""
    size, extent = len(owner), len(alpha)
    full = (alpha > 0.5).sum()
    for _ in range(PLACEMENTS):
        top, left = (int(v) for v in random.integers(-extent // 3, size - extent * 2 // 3, 2))
        window, part = _windows(size, extent, (top, left))
        covered = alpha[part] > 0.5
        visible = np.bincount(owner[window][covered], minlength=len(areas) + 1)
        total = np.bincount(owner.ravel(), minlength=len(areas) + 1)
        left_over = (total - visible)[1:]
        seen = all(rest >= MIN_VISIBLE * area for rest, area in zip(left_over, areas, strict=True))
        if seen and covered.sum() >= MIN_INSIDE * full:
            return top, left
    return None


def _windows(
    size: int, extent: int, corner: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The same pixels in the picture and in the patch."""
    spans = [(max(at, 0), min(at + extent, size)) for at in corner]
    window = tuple(slice(low, high) for low, high in spans)
    part = tuple(slice(low - at, high - at) for (low, high), at in zip(spans, corner, strict=True))
    return (window[0], window[1]), (part[0], part[1])


def _mark(owner: np.ndarray, alpha: np.ndarray, corner: tuple[int, int], number: int) -> None:
    window, part = _windows(len(owner), len(alpha), corner)
    owner[window][alpha[part] > 0.5] = number


def _paint(canvas: np.ndarray, patch: _Patch, corner: tuple[int, int]) -> None:
    window, part = _windows(len(canvas), len(patch.alpha), corner)
    below = canvas[window] * (1 - patch.shadow[part][..., None])
    alpha = patch.alpha[part][..., None]
    canvas[window] = below * (1 - alpha) + patch.colour[part] * alpha


def _box(
    alpha: np.ndarray, corner: tuple[int, int], size: int
) -> tuple[float, float, float, float]:
    top, left = corner
    rows, columns = (np.flatnonzero((alpha > 0.25).any(axis)) for axis in (1, 0))
    y0, y1 = max(top + int(rows[0]), 0), min(top + int(rows[-1]) + 1, size)
    x0, x1 = max(left + int(columns[0]), 0), min(left + int(columns[-1]) + 1, size)
    return float(x0), float(y0), float(x1 - x0), float(y1 - y0)


def _colour(hue: float, saturation: float, value: float) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(hue, saturation, min(max(value, 0.0), 1.0))) * 255
