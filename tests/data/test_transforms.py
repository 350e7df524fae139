"""Boxes follow pixels through every transform."""

from __future__ import annotations

import pytest
import torch
from coco_files import DISPLAY, augmentation
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from detbox.boxes import to_xyxy
from detbox.data import transforms
from detbox.data.augmentation import Augmentation
from detbox.data.transforms import View, fitted_size, view, window_of


def rectangle(height: int, width: int, xyxy: tuple[int, int, int, int]) -> View:
    """A white rectangle on black, with its box."""
    pixels = torch.zeros(3, height, width, dtype=torch.uint8)
    x0, y0, x1, y1 = xyxy
    pixels[:, y0:y1, x0:x1] = 255
    corners = torch.tensor([xyxy]) / torch.tensor([width, height, width, height])
    boxes = torch.cat(((corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]), 1)
    return view(pixels, torch.tensor([3]), boxes)


def drawn_box(pixels: Tensor) -> Tensor:
    """xyxy of the white pixels."""
    bright = pixels.float().mean(0) > 127
    rows, columns = bright.any(1).nonzero()[:, 0], bright.any(0).nonzero()[:, 0]
    return torch.stack((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)).float()


@pytest.mark.parametrize(
    "fields",
    [
        {"flip": 1.0},
        {"train_sizes": (31, 77, 130)},
        {"crop": True},
        {"crop": True, "flip": 0.5, "train_sizes": (40, 64, 90), "max_size": 120},
    ],
)
def test_boxes_stay_where_the_pixels_are(fields: dict) -> None:
    kept = 0
    for seed in range(60):
        before = rectangle(80, 120, (22, 14, 70, 61))
        after = augmentation(**fields)(before, (0, 0, seed))
        if not len(after.labels):
            assert after.image.float().mean() < 2
            continue
        height, width = after.image.shape[-2:]
        box = to_xyxy(after.shares())[0] * torch.tensor([width, height, width, height])
        error = (box - drawn_box(after.image.as_subclass(Tensor))).abs().max()
        thin = bool(((box[2:] - box[:2]) < 3).any())
        assert thin or error <= 2.5
        kept += 1
    assert kept > 40


def test_a_flip_mirrors_pixels_and_box() -> None:
    before = rectangle(48, 64, (10, 20, 30, 40))
    after = augmentation(flip=1.0)(before, (0, 0, 0))
    assert torch.equal(after.image, before.image.flip(-1))
    assert after.boxes.tolist() == [[34, 20, 54, 40]]


def test_crops_drop_objects_that_are_cut_away() -> None:
    lost = 0
    for seed in range(40):
        before = rectangle(100, 100, (0, 0, 6, 6))
        after = augmentation(crop=True)(before, (0, 0, seed))
        assert len(after.labels) == len(after.boxes)
        lost += not len(after.labels)
    assert 5 < lost < 40


@settings(deadline=None, max_examples=60, derandomize=True)
@given(data=st.data())
def test_windows_cut_before_enlarging_are_those_cut_after_it(data: st.DataObject) -> None:
    sides = [data.draw(st.integers(1, 90)) for _ in range(2)]
    size = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 300))
    height, width = (data.draw(st.integers(1, side)) for side in size)
    top, left = (
        data.draw(st.integers(0, size[0] - height)),
        data.draw(st.integers(0, size[1] - width)),
    )
    pixels = torch.randint(0, 256, (*sides, 3), dtype=torch.uint8).permute(2, 0, 1)
    before = view(pixels, torch.tensor([0]), torch.tensor([[0.5, 0.4, 0.3, 0.6]]))
    window = (top, left, height, width)
    after = window_of(before, size, window)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transforms, "LARGE", 0)
        first = window_of(before, size, window)
    assert (after.image.int() - first.image.int()).abs().max() <= 2
    assert torch.equal(after.boxes, first.boxes)


def test_strips_cost_their_window(monkeypatch: pytest.MonkeyPatch) -> None:
    strip = view(
        torch.zeros(3, 2, 4000, dtype=torch.uint8),
        torch.tensor([0]),
        torch.tensor([[0.5, 0.5, 0.9, 1.0]]),
    )

    cut = Augmentation([{"name": "crop", "share": 1.0}])

    def resized_whole(*_: object) -> View:
        raise AssertionError("enlarged to millions of pixels")

    monkeypatch.setattr(transforms, "resized_to", resized_whole)
    for index in range(4):
        after = cut(strip, (0, 0, index))
        assert max(after.image.shape) <= 600
        assert len(after.boxes) <= 1


def test_the_same_seed_gives_the_same_picture_whatever_the_global_state() -> None:
    before = rectangle(80, 120, (22, 14, 70, 61))
    varied = augmentation(crop=True, flip=0.5, train_sizes=(40, 64), jitter=0.2)
    torch.manual_seed(1)
    first = varied(before, (0, 1, 2))
    torch.manual_seed(2)
    second = varied(before, (0, 1, 2))
    assert torch.equal(first.image, second.image)
    assert torch.equal(first.boxes, second.boxes)


@settings(deadline=None)
@given(height=st.integers(1, 3000), width=st.integers(1, 3000), short=st.integers(16, 900))
def test_fitted_sides_are_short_enough_and_keep_the_aspect(
    height: int, width: int, short: int
) -> None:
    new_height, new_width = fitted_size(height, width, short, 1333)
    assert max(new_height, new_width) <= 1333
    assert min(new_height, new_width) <= short
    assert min(new_height, new_width) == short or max(height, width) / min(height, width) > 1.4
    if min(new_height, new_width) >= 16:
        assert new_width / new_height == pytest.approx(width / height, rel=0.1)


def test_sizes_follow_detr() -> None:
    assert fitted_size(480, 640, 800, 1333) == (800, 1066)
    assert fitted_size(640, 480, 800, 1333) == (1066, 800)
    assert fitted_size(427, 640, 800, 1333) == (800, 1199)
    assert fitted_size(300, 900, 800, 1333) == (444, 1332)


def test_a_picture_of_the_wanted_size_is_not_resampled() -> None:
    before = rectangle(48, 64, (10, 20, 30, 40))
    assert DISPLAY.fit(before).image.data_ptr() == before.image.data_ptr()


def test_pixels_stay_uint8_in_channels_last_strides() -> None:
    pixels = torch.randint(0, 256, (60, 90, 3), dtype=torch.uint8).permute(2, 0, 1)
    before = view(pixels, torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4))
    after = augmentation(crop=True, flip=1.0)(before, (0, 0, 3))
    assert after.image.dtype == torch.uint8
    assert after.image[None].is_contiguous(memory_format=torch.channels_last)
    assert after.shares().shape == (0, 4)


def test_jitter_changes_colours_and_no_box() -> None:
    pixels = torch.randint(0, 256, (3, 48, 64), dtype=torch.uint8)
    before = view(pixels, torch.zeros(1, dtype=torch.int64), torch.full((1, 4), 0.5))
    after = augmentation(jitter=0.3)(before, (0, 0, 0))
    assert not torch.equal(after.image, before.image)
    assert torch.equal(after.boxes, before.boxes)


@pytest.mark.parametrize(
    "fields",
    [
        {"train_sizes": ()},
        {"crop": True, "crop_sizes": (1,)},
        {"crop": True, "crop_sizes": (40, 24)},
        {"crop": True, "crop_sizes": (0, 24)},
        {"flip": 1.5},
    ],
)
def test_settings_that_cannot_be_drawn_from_are_refused(fields: dict) -> None:
    with pytest.raises(ValueError, match=r"expected|must be|has no size"):
        augmentation(**fields)
