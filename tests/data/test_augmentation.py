"""`data.augment`: steps by name, from anywhere, that do not disturb each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from coco_files import augmentation

import detbox
from detbox.build import build_data
from detbox.data.transforms import View, view
from detbox.registry import AUGMENTATIONS


@AUGMENTATIONS.register("test_shade")
def shade(view: View, random: np.random.Generator, *, most: int = 10) -> View:
    """A step from outside."""
    return view._replace(image=view.image - int(random.integers(1, most + 1)))


def picture() -> View:
    pixels = torch.arange(3 * 40 * 60, dtype=torch.int64).remainder(200).reshape(3, 40, 60) + 50
    boxes = torch.tensor([[0.3, 0.5, 0.3, 0.4], [0.7, 0.4, 0.2, 0.2]])
    return view(pixels.to(torch.uint8), torch.tensor([0, 1]), boxes)


@pytest.mark.parametrize(
    ("fields", "least"),
    [
        ({}, (50, 100)),
        ({"train_sizes": (32, 70)}, (70, 140)),
        ({"augment": ("flip", "crop")}, None),
        ({"augment": ("test_shade", "resize")}, None),
    ],
)
def test_what_is_seen_of_a_picture_is_known_of_the_own_steps(
    fields: dict[str, Any], least: tuple[int, int] | None
) -> None:
    size = augmentation(**fields).least
    assert (size and size(1000, 2000)) == least


VARIED = {"flip": 0.5, "crop": True, "train_sizes": (40, 64, 90), "jitter": 0.2}
DRAWN = [
    (104, 64, 40.0, 0.0),
    (40, 61, 0.0, 24.4),
    (90, 97, 53.61, 0.0),
    (90, 135, 20.25, 81.0),
    (64, 96, 14.4, 57.6),
    (90, 135, 74.25, 27.0),
]
"""(height, width) and left edges of (seed, epoch, index), as the first release drew them"""


def test_pictures_are_those_of_the_first_release() -> None:
    made = [augmentation(**VARIED)(picture(), (1, 2, index)) for index in range(6)]
    shown = [(*view.image.shape[-2:], *view.boxes[:, 0].tolist()) for view in made]
    assert [pytest.approx(each, abs=0.01) for each in DRAWN] == shown


def test_a_step_from_outside_costs_one_function_and_one_setting() -> None:
    extra = {"name": "test_shade", "most": 3}
    cfg = detbox.compose("data=shapes", "data.augment=[flip,{name:test_shade,most:3},resize]")
    assert build_data(cfg).dataset.augmentation() is not None
    plain = augmentation(flip=0.5, augment=["flip"])(picture(), (0, 0, 7))
    shaded = augmentation(flip=0.5, augment=["test_shade", "flip", extra])(picture(), (0, 0, 7))
    assert (plain.image.int() - shaded.image.int()).unique().numel() == 1
    assert not torch.equal(plain.image, shaded.image)


def test_a_new_step_leaves_the_draws_of_the_others_alone() -> None:
    steps = ("flip", "test_shade", "crop", "resize", "jitter")
    for index in range(8):
        before = augmentation(**VARIED)(picture(), (0, 0, index))
        after = augmentation(**VARIED, augment=steps)(picture(), (0, 0, index))
        assert torch.equal(before.boxes, after.boxes)


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        ("flop", "did you mean 'flip'"),
        ({"name": "flip", "shar": 1}, "did you mean 'share'"),
        ({"name": "flip", "share": "often"}, "flip.*share.*could not be converted"),
        ({"name": "flip", "share": 1.5}, "flip: share must be from 0 to 1, got 1.5"),
        ({"share": 1.5}, "expected names of steps"),
    ],
)
def test_steps_and_settings_are_checked(step: Any, sentence: str) -> None:
    with pytest.raises((KeyError, ValueError), match=sentence):
        augmentation(augment=[step])
