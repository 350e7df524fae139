"""All spellings of one scene look alike, and what is guessed is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scenes_on_disk import (
    scene,
    spread,
    write_compressed_tiff,
    write_packed_tiff,
    write_png,
    write_tiff,
)

from detbox.data.images import FLAT, Reading, decode, read
from detbox.data.pixel_range import Levels, PixelRange

Write = Callable[[Path], Path]
GREY = spread(8)
UNIT = GREY / 255
ALIKE = 1
"""level of 255 by which spellings may differ"""


def colour(values: np.ndarray, channels: int = 3) -> np.ndarray:
    return np.repeat(values[..., None], channels, -1)


def png(values: np.ndarray, **options: int) -> Write:
    return lambda folder: write_png(folder / "a.png", values, **options)


def tiff(values: np.ndarray, **options: str | int) -> Write:
    return lambda folder: write_tiff(folder / "a.tif", values, **options)


def saved(image: Image.Image, name: str) -> Write:
    def write(folder: Path) -> Path:
        image.save(folder / name)
        return folder / name

    return write


def u2(bits: int) -> np.ndarray:
    return spread(bits).astype(np.uint16)


GREY_IMAGE = Image.fromarray(scene())
SPELLINGS: dict[str, Write] = {
    **{f"png, {bits} bits in 16": png(u2(bits)) for bits in (8, 10, 12, 14, 16)},
    **{f"png RGB, {bits} bits in 16": png(colour(u2(bits))) for bits in (8, 10, 12, 14, 16)},
    "png, 12 bits shifted": png(scene().astype(np.uint16) << 4),
    "png, 16 bits shifted": png(scene().astype(np.uint16) << 8),
    "png LA, 12 bits": png(colour(u2(12), 2)),
    "png RGBA, 12 bits": png(colour(u2(12), 4)),
    "png RGB, 12 bits, interlaced": png(colour(u2(12)), interlace=True),
    "png, sBIT 12, scaled": png(u2(16), significant=12),
    "tiff, 12 bits packed": lambda folder: write_packed_tiff(folder / "a.tif", u2(12)),
    "tiff, big-endian 12 in 16": tiff(u2(12), order=">"),
    "tiff, white is zero": tiff(65535 - u2(16), photometric=0),
    "tiff, int16": tiff(spread(15).astype(np.int16)),
    "tiff, int32 of 16 bits": tiff(spread(16).astype(np.int32)),
    "tiff, int32 of 8 bits, big-endian": tiff(GREY.astype(np.int32), order=">"),
    "tiff, int32, full": tiff(spread(31).astype(np.int32)),
    "tiff, uint32, full": tiff(spread(32).astype(np.uint32)),
    "tiff, float, unit": tiff(UNIT.astype(np.float32)),
    "tiff, float, unit, overshooting": tiff(np.where(GREY == 255, 1.02, UNIT).astype("f4")),
    "tiff, float, signed unit": tiff((2 * UNIT - 1).astype(np.float32)),
    "tiff, float, 255": tiff(GREY.astype(np.float32)),
    "tiff, float, 4095, big-endian": tiff(spread(12).astype(np.float32), order=">"),
    "tiff, float, not a number": tiff(np.where(GREY == 0, np.nan, UNIT).astype(np.float32)),
    "tiff RGB, 12 bits": tiff(colour(u2(12))),
    "tiff RGB, 12 bits, big-endian": tiff(colour(u2(12)), order=">"),
    "tiff RGBA, 10 bits": tiff(colour(u2(10), 4)),
    "tiff, deflated 12 in 16": lambda folder: write_compressed_tiff(
        folder / "a.tif", u2(12), "tiff_adobe_deflate"
    ),
    "pgm, 16 bits": saved(Image.fromarray(spread(16).astype(np.int32)), "a.pgm"),
    "palette": saved(GREY_IMAGE.convert("P"), "a.png"),
    "LA": saved(GREY_IMAGE.convert("LA"), "a.png"),
    "RGBA": saved(GREY_IMAGE.convert("RGBA"), "a.png"),
    "CMYK": saved(GREY_IMAGE.convert("RGB").convert("CMYK"), "a.tif"),
    "YCbCr": saved(GREY_IMAGE.convert("RGB").convert("YCbCr"), "a.tif"),
}


def seen(path: Path) -> np.ndarray:
    return decode(path).pixels.permute(1, 2, 0).numpy().astype(int)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_all_spellings_of_a_scene_look_alike(tmp_path: Path, spelling: str) -> None:
    difference = seen(SPELLINGS[spelling](tmp_path)) - colour(scene())
    assert np.abs(difference).max() <= ALIKE


def test_lab_is_read_by_its_colours(tmp_path: Path) -> None:
    lab = Image.merge("LAB", (GREY_IMAGE, *(Image.new("L", GREY_IMAGE.size, 128),) * 2))
    lab.save(tmp_path / "a.tif")
    pixels = seen(tmp_path / "a.tif")
    assert (pixels[0, 0] < 10).all()
    assert (pixels[-1, -1] > 240).all()


@pytest.mark.parametrize("kind", ["u2", ">u2", "i4", "u4", "f4", "f8", "?"])
def test_arrays_and_pillow_images_look_as_their_files_do(tmp_path: Path, kind: str) -> None:
    scenes = {"f4": UNIT, "f8": UNIT, "?": UNIT > 0.5}
    values = scenes.get(kind, spread(12)).astype(kind)
    array = read(values)
    torch.testing.assert_close(read(colour(values, 4)).pixels, array.pixels)
    if kind not in ("u4", "f8"):
        values = values.astype(values.dtype.newbyteorder("="))
        image = Image.fromarray(values)
        torch.testing.assert_close(read(image).pixels, array.pixels)
        image.save(tmp_path / "a.tif")
        torch.testing.assert_close(read(tmp_path / "a.tif").pixels, array.pixels)
        with Image.open(tmp_path / "a.tif") as lazy:
            torch.testing.assert_close(read(lazy).pixels, array.pixels)


@pytest.mark.parametrize("largest", [4095, 3000, 2100])
def test_frames_of_a_12_bit_camera_keep_their_contrast(largest: int) -> None:
    frame = (spread(12) * (largest / 4095)).astype(np.uint16)
    frame[0, 0] = 2000
    assert read(frame).pixels[0, 0, 0] == 2000 >> 4


def test_a_setting_holds_for_dark_frames_too(tmp_path: Path) -> None:
    dark = (spread(12) / 16).astype(np.uint16)
    reading = Reading(PixelRange.parse("12"))
    for source in (dark, png(dark)(tmp_path), png(colour(dark))(tmp_path)):
        picture = read(source, reading)
        assert picture.pixels.max() == 15
        assert picture.troubles == ()


def test_a_file_that_states_its_bits_is_believed(tmp_path: Path) -> None:
    dark = (spread(12) / 16).astype(np.uint16)
    for path in (write_packed_tiff(tmp_path / "a.tif", dark), png(dark, significant=12)(tmp_path)):
        picture = decode(path)
        assert picture.pixels.max() == 15
        assert picture.troubles == ()


def test_a_guess_is_said_with_the_setting_that_ends_it() -> None:
    (trouble,) = read(spread(12).astype(np.uint16)).troubles
    assert "data.pixel_range=0:4095" in trouble
    assert not read(spread(16).astype(np.uint16)).troubles
    assert not read(UNIT).troubles


def test_pictures_that_come_out_flat_are_said(tmp_path: Path) -> None:
    labels = (scene() > 99).astype(np.uint8)
    Image.fromarray(labels).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png").troubles == (FLAT,)
    assert FLAT in read(UNIT * 1e-3).troubles
    speck = np.zeros((64, 96), np.uint8)
    speck[9, 9] = 200
    assert not read(speck).troubles


def test_minmax_stretches_every_picture() -> None:
    narrow = (spread(8) + 9000).astype(np.uint16)
    pixels = read(narrow, Reading(PixelRange.parse("minmax"))).pixels
    assert np.abs(pixels[0].numpy().astype(int) - scene()).max() <= ALIKE


@pytest.mark.parametrize(
    ("text", "levels"), [("12", (0, 4095)), ("0:1", (0, 1)), ("-1000:400", (-1000, 400))]
)
def test_settings_are_read(text: str, levels: tuple[float, float]) -> None:
    assert PixelRange.parse(text) == PixelRange(Levels(*levels))


@pytest.mark.parametrize("text", ["", "12.5", "0", "40", "5:5", "9:1", "0:inf", "1:2:3", "max"])
def test_other_settings_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"try data\.pixel_range=12"):
        PixelRange.parse(text)
