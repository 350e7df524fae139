"""One scene, written in every type of value that a file of Pillow's can hold."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, TiffImagePlugin


def scene() -> np.ndarray:
    """A smooth grey scene of all 256 levels, (64, 96) uint8."""
    ramp = np.add.outer(np.linspace(0, 1, 64), np.linspace(0, 2, 96)) / 3
    return (ramp * 255 + 0.5).astype(np.uint8)


def colour_scene() -> np.ndarray:
    """The scene in three colours, (64, 96, 3) uint8."""
    grey = scene()
    return np.stack((grey, grey[::-1], grey[:, ::-1]), -1)


def spread(bits: int) -> np.ndarray:
    """The scene over the full scale of so many bits, float64."""
    return np.rint(scene() * ((2.0**bits - 1) / 255))


def write_png(
    path: Path, values: np.ndarray, *, significant: int | None = None, interlace: bool = False
) -> Path:
    """16-bit PNG of values (H, W) or (H, W, 2 | 3 | 4), as Pillow cannot write it in colour."""
    values = values.reshape(*values.shape[:2], -1)
    height, width, channels = values.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, int(interlace))
    rows = [values] if not interlace else list(_passes(values))
    lines = [b"\0" + line.astype(">u2").tobytes() for part in rows for line in part]
    chunks = [_chunk(b"IHDR", header)]
    if significant is not None:
        chunks.append(_chunk(b"sBIT", bytes([significant] * channels)))
    chunks += [_chunk(b"IDAT", zlib.compress(b"".join(lines))), _chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


def write_tiff(path: Path, values: np.ndarray, *, order: str = "<", photometric: int = 1) -> Path:
    """Uncompressed TIFF of values (H, W) or (H, W, C) of any type and byte order."""
    data = values.astype(f"{order}{values.dtype.str[1:]}").tobytes()
    channels = values.shape[2] if values.ndim == 3 else 1
    bits, kind = values.dtype.itemsize * 8, {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    return _tiff(path, order, values.shape[:2], data, channels, bits, kind, photometric)


def write_packed_tiff(path: Path, values: np.ndarray) -> Path:
    """TIFF of 12 bits a value, two values in three bytes."""
    first, second = (values[:, start::2].astype(np.uint16) for start in (0, 1))
    packed = np.stack((first >> 4, (first & 15) << 4 | second >> 8, second & 255), -1)
    data = packed.astype(np.uint8).tobytes()
    return _tiff(path, "<", values.shape, data, 1, 12, 1, 1)


def _tiff(
    path: Path,
    order: str,
    size: tuple[int, ...],
    data: bytes,
    channels: int,
    bits: int,
    kind: int,
    photometric: int,
) -> Path:
    height, width = size
    entries = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [bits] * channels),
        (259, 3, [1]),
        (262, 3, [photometric if channels == 1 else 2]),
        (273, 4, [0]),
        (277, 3, [channels]),
        (278, 4, [height]),
        (279, 4, [len(data)]),
        *([(338, 3, [2])] if channels == 4 else []),
        (339, 3, [kind] * channels),
    ]
    table = 2 + 12 * len(entries) + 4
    extra, body = b"", b""
    for tag, form, numbers in entries:
        code = {3: "H", 4: "I"}[form]
        numbers = [8 + table + 32] if tag == 273 else numbers
        packed = struct.pack(f"{order}{len(numbers)}{code}", *numbers)
        if len(packed) > 4:
            place = 8 + table + len(extra)
            extra += packed
            packed = struct.pack(f"{order}I", place)
        body += struct.pack(f"{order}HHI", tag, form, len(numbers)) + packed.ljust(4, b"\0")
    magic = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    directory = struct.pack(f"{order}H", len(entries)) + body + b"\0" * 4
    path.write_bytes(magic + directory + extra.ljust(32, b"\0") + data)
    return path


def write_compressed_tiff(path: Path, values: np.ndarray, compression: str) -> Path:
    """TIFF by Pillow through libtiff, which hands values over in the machine's byte order."""
    info = TiffImagePlugin.ImageFileDirectory_v2()
    Image.fromarray(values).save(path, compression=compression, tiffinfo=info)
    return path


def _chunk(name: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + check


def _passes(values: np.ndarray) -> list[np.ndarray]:
    """Adam7 (PNG, sec. 8.2)."""
    starts = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)]
    starts += [(2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    return [values[top::down, left::right] for top, left, down, right in starts]
