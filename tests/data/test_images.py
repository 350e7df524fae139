"""Pictures of every kind become uint8 RGB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile, ImageOps

from detbox.data import images
from detbox.data.images import (
    OTHER_SIZE,
    TRUNCATED,
    Reading,
    TooLargeImageError,
    UnreadableImageError,
    decode,
    read,
)
from detbox.data.transforms import Display


@pytest.fixture
def picture() -> Image.Image:
    """A smooth 60 x 40 picture, with a red left and a blue right half."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, :30, 0], pixels[:, 30:, 2] = 200, 200
    return Image.fromarray(pixels)


def with_orientation(image: Image.Image, path: Path, orientation: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"])
def test_every_mode_becomes_three_uint8_channels(
    tmp_path: Path, picture: Image.Image, mode: str
) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    else:
        image = picture.convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    pixels = read(path).pixels
    assert pixels.dtype == torch.uint8
    assert tuple(pixels.shape) == (3, 40, 60)
    seen = picture.convert("L" if mode == "I;16" else mode)
    expected = seen.convert("RGB")
    difference = pixels.permute(1, 2, 0).numpy().astype(int) - np.asarray(expected)
    assert np.abs(difference).max() <= 2


def test_transparent_palettes_are_read_without_a_warning(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "a.png", transparency=b"\x00\xff")
    assert read(tmp_path / "a.png").pixels[:, 0, 0].tolist() == [10, 20, 30]


def test_cmyk_and_gray_jpeg_look_as_in_rgb(tmp_path: Path, picture: Image.Image) -> None:
    for mode in ("CMYK", "L"):
        picture.convert(mode).save(tmp_path / "a.jpg", quality=98, subsampling=0)
        expected = np.asarray(picture.convert(mode).convert("RGB")).astype(int)
        pixels = decode(tmp_path / "a.jpg", (40, 60)).pixels.permute(1, 2, 0).numpy()
        assert np.abs(pixels - expected).mean() < 3


def test_files_arrays_and_pillow_images_agree(tmp_path: Path, picture: Image.Image) -> None:
    picture.save(tmp_path / "a.png")
    pixels = read(tmp_path / "a.png").pixels
    for source in (str(tmp_path / "a.png"), picture, np.asarray(picture)):
        torch.testing.assert_close(read(source).pixels, pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_without_annotation_pictures_are_turned_upright(
    tmp_path: Path, picture: Image.Image, orientation: int
) -> None:
    path = with_orientation(picture, tmp_path / "a.png", orientation)
    with Image.open(path) as stored:
        expected = np.array(ImageOps.exif_transpose(stored))
    np.testing.assert_array_equal(read(path).pixels.permute(1, 2, 0).numpy(), expected)


def test_the_annotated_size_decides_on_exif_rotation(tmp_path: Path, picture: Image.Image) -> None:
    path = with_orientation(picture, tmp_path / "a.png", 6)
    upright, raw = decode(path, (60, 40)), decode(path, (40, 60))
    assert tuple(upright.pixels.shape) == (3, 60, 40)
    assert tuple(raw.pixels.shape) == (3, 40, 60)
    assert not upright.troubles
    assert not raw.troubles


def test_another_size_than_annotated_is_told(tmp_path: Path, picture: Image.Image) -> None:
    picture.save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png", (80, 120)).troubles == (OTHER_SIZE,)


@pytest.mark.parametrize("progressive", [False, True])
def test_truncated_files_give_what_is_there(tmp_path: Path, progressive: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    path = tmp_path / "a.jpg"
    Image.fromarray(pixels).save(path, quality=95, progressive=progressive)
    whole = read(path).pixels
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    picture = decode(path)
    assert picture.troubles == (TRUNCATED,)
    assert picture.pixels.shape == whole.shape
    if not progressive:
        torch.testing.assert_close(picture.pixels[:, :40], whole[:, :40])


def test_missing_and_undecodable_files_raise_one_error(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name, kind in (("none.jpg", "missing"), ("text.jpg", "undec"), ("empty.jpg", "undec")):
        with pytest.raises(UnreadableImageError, match=kind):
            decode(tmp_path / name)


def test_arrays_of_another_kind_are_refused() -> None:
    arrays = (np.zeros((4, 4), complex), np.zeros((3, 9, 9), np.uint8), np.zeros((0, 4), np.uint8))
    for array in arrays:
        with pytest.raises(ValueError, match="expected an RGB array"):
            read(array)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_large_pictures_are_read_reduced_and_cover_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, orientation: int
) -> None:
    pixels = np.add.outer(np.sin(np.arange(413) / 30), np.cos(np.arange(587) / 40))
    pixels = np.repeat(((pixels + 2) * 63).astype(np.uint8)[..., None], 3, -1)
    path = with_orientation(Image.fromarray(pixels), tmp_path / name, orientation)
    display = Display(60, 80)
    whole = decode(path, least=display.size)
    monkeypatch.setattr(images, "LARGE", 1000)
    reduced = decode(path, least=display.size)
    assert reduced.size == whole.size == tuple(whole.pixels.shape[1:])
    assert reduced.pixels.numel() * 4 < whole.pixels.numel()
    first, second = (display.pixels(each.pixels, each.size).int() for each in (whole, reduced))
    assert (first - second).abs().max() <= 3


def test_files_above_the_limit_are_refused_with_their_size_and_the_setting(tmp_path: Path) -> None:
    Image.new("1", (60, 50)).save(tmp_path / "a.png")
    with pytest.raises(TooLargeImageError, match=r"60 x 50.*data\.max_pixels=2999.*raise that"):
        decode(tmp_path / "a.png", reading=Reading(max_pixels=2999))
    assert decode(tmp_path / "a.png", reading=Reading(max_pixels=3000)).size == (50, 60)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
def test_the_smallest_pictures_are_read(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, (9, 8, 7)).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png").pixels[:, 0, 0].tolist() == [9, 8, 7]


def test_a_broken_pillow_image_is_refused_as_its_file_is(tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 50).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with (
        Image.open(tmp_path / "a.png") as image,
        pytest.raises(UnreadableImageError, match="Pillow image is undecodable"),
    ):
        read(image)


def test_pillow_keeps_the_settings_of_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4321)
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(UnreadableImageError):
        decode(tmp_path / "a.png")
    assert Image.MAX_IMAGE_PIXELS == 4321
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_pixels_lie_channels_last(picture: Image.Image) -> None:
    pixels = read(picture).pixels
    assert pixels[None].is_contiguous(memory_format=torch.channels_last)
