"""Pictures that show the same are found, whatever became of their files, and no others."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from detbox.annotations.likeness import BLOCK, near_duplicates
from detbox.data.drawing import draw_scene

CHANGES: dict[str, Callable[[Image.Image, Path], None]] = {
    "a.png": lambda image, path: image.save(path),
    "poor.jpg": lambda image, path: image.save(path, quality=30),
    "half.webp": lambda image, path: image.resize((64, 64)).save(path),
    "dim.jpg": lambda image, path: ImageEnhance.Brightness(image).enhance(0.7).save(path),
    "cut.png": lambda image, path: image.crop((2, 2, 128, 128)).save(path),
    "deep.png": lambda image, path: Image.fromarray(
        np.asarray(image.convert("L")).astype(np.uint16) * 16
    ).save(path),
    "turned.jpg": lambda image, path: image.rotate(90).save(path, exif=_exif(6)),
}


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def scene(seed: int) -> Image.Image:
    return Image.fromarray(draw_scene(128, np.random.default_rng(seed)).pixels)


@pytest.mark.parametrize("name", CHANGES)
def test_a_copy_is_found_whatever_became_of_it(name: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"{seed}.png" for seed in range(9)]
    for seed, path in enumerate(paths):
        scene(seed).save(path)
    CHANGES[name](scene(3), tmp_path / name)
    assert near_duplicates([*paths, tmp_path / name]) == [[3, 9]]


def test_plain_pictures_are_alike_if_their_colours_are(tmp_path: Path) -> None:
    for name, colour in {"a": "black", "b": "#010101", "c": "white", "d": "red"}.items():
        Image.new("RGB", (40, 30), colour).save(tmp_path / f"{name}.jpg")
    assert near_duplicates([tmp_path / f"{name}.jpg" for name in "abcd"]) == [[0, 1]]


def test_what_cannot_be_read_is_like_nothing(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    paths = [tmp_path / "broken.jpg", tmp_path / "none.jpg", tmp_path / "no\0name.jpg"]
    assert near_duplicates([*paths, *paths]) == []
    assert near_duplicates([]) == []


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for seed, path in enumerate(paths):
        scene(seed).save(path)
    assert near_duplicates(paths) == []
    scene(0).resize((99, 99)).save(paths[1])
    assert near_duplicates(paths) == [[0, 1]]


def test_a_chain_is_one_group_in_any_order_of_many(tmp_path: Path) -> None:
    base = np.asarray(scene(1))
    paths = [tmp_path / f"{shift}.png" for shift in range(0, 3 * BLOCK)]
    for shift, path in enumerate(paths[:40]):  # a camera that pans, a pixel a frame
        Image.fromarray(np.roll(base, shift, 1)).save(path)
    rng = np.random.default_rng(0)
    for path in paths[40:]:
        Image.fromarray(rng.integers(0, 256, (12, 12), np.uint8)).save(path)
    assert near_duplicates(paths) == [list(range(40))]
    assert near_duplicates([paths[0], paths[20]]) == []
    order = random.Random(0).sample(range(len(paths)), len(paths))
    (group,) = near_duplicates([paths[each] for each in order])
    assert sorted(order[each] for each in group) == list(range(40))
