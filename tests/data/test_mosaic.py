"""Four pictures in one: every pixel and box is where its picture went."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from coco_files import augmentation, box, image, write_files
from torch import Tensor

import detbox
from detbox.build import build_data
from detbox.data.mosaic import mosaic
from detbox.data.transforms import View, view


def square(shade: int, height: int = 60, width: int = 80) -> View:
    """A grey picture with one white box, labelled by its shade."""
    pixels = torch.full((3, height, width), shade, dtype=torch.uint8)
    left, top, right, bottom = width // 4, height // 4, 3 * width // 4, 3 * height // 4
    pixels[:, top:bottom, left:right] = 255
    return view(pixels, torch.tensor([shade]), torch.tensor([[0.5, 0.5, 0.5, 0.5]]))


@pytest.mark.parametrize("seed", range(8))
def test_boxes_lie_on_what_they_are_of(seed: int) -> None:
    shades = iter((20, 30, 40))
    made = mosaic(
        *(square(10), np.random.default_rng(seed), lambda _: square(next(shades), 50 + seed, 90)),
        share=1.0,
        least_visible=0.0,
    )
    assert made.image.shape == (3, 60, 80)
    inside = torch.zeros(60, 80, dtype=torch.bool)
    for left, top, right, bottom in made.boxes.as_subclass(Tensor).round().int().tolist():
        inside[top:bottom, left:right] = True
    white = made.image.as_subclass(Tensor)[0] > 150
    assert (white != inside).float().mean() < 0.04  # edges are resized
    assert set(made.labels.tolist()) <= {10, 20, 30, 40}
    shown = set(made.image.as_subclass(Tensor)[0].unique().tolist())
    assert len({10, 20, 30, 40} & shown) == 4


def test_objects_of_which_little_is_seen_are_dropped() -> None:
    counts = [
        len(
            mosaic(
                square(10),
                np.random.default_rng(3),
                lambda _: square(20),
                share=1.0,
                least_visible=each,
            ).labels
        )
        for each in (0.0, 0.3, 1.0)
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[2]


def test_it_trains_on_pictures_of_its_split_and_never_on_others(tmp_path: Path) -> None:
    boxes = [box(n, n, [8, 8, 20, 20]) for n in range(1, 6)]
    for split in ("train", "val"):
        write_files(tmp_path, split, images=[image(n) for n in range(1, 6)], annotations=boxes)
    (tmp_path / "train" / "0002.png").write_bytes(b"no picture")
    steps = "data.augment=[{name:mosaic,share:1.0},flip,resize]"
    settings = ("data=folder", f"data.root={tmp_path}", "data.train_sizes=[48]", steps)
    data = build_data(detbox.compose(*settings))
    samples = [data._training[(0, index)] for index in (0, 2, 3)]
    assert [sample.pixels.shape for sample in samples] == [(3, 48, 64)] * 3
    assert sum(len(sample.boxes) for sample in samples) > 3
    again = data._training[(0, 0)]
    assert torch.equal(again.pixels, samples[0].pixels)


def test_a_picture_alone_is_its_own_neighbour() -> None:
    alone = augmentation(augment=[{"name": "mosaic", "share": 1.0}])(square(10), (0, 0, 0))
    assert set(alone.labels.tolist()) == {10}
