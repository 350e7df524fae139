"""What drawing promises; how it looks is for eyes."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import Tensor

from detbox.evaluation.canvas import Canvas
from detbox.evaluation.drawing import color_of, contact_sheet, draw
from detbox.structures import Detections

NAMES = ("cat", "Straße", "dog")


def picture(height: int = 90, width: int = 120) -> Tensor:
    return torch.full((3, height, width), 100, dtype=torch.uint8)


def detections(*boxes: tuple[float, ...], score: float = 0.9) -> Detections:
    count = len(boxes)
    return Detections(
        torch.tensor(boxes).reshape(-1, 4), torch.full((count,), score), torch.arange(count) % 3
    )


INSIDE = (20.0, 30.0, 80.0, 70.0)


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (90, 120), (1500, 2000)])
@pytest.mark.parametrize("side", [0, 320, 512])
def test_small_pictures_are_enlarged_by_a_whole_factor(size: tuple[int, int], side: int) -> None:
    found = detections(INSIDE)
    drawn = draw(picture(*size), found, NAMES, truth=found, legible_side=side)
    zoom = drawn.width // size[1]
    assert drawn.size == (size[1] * zoom, size[0] * zoom)
    longest = max(drawn.size)
    assert longest == max(size) if side <= max(size) else side / 2 < longest <= side


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_input_stays_as_it_was(layout: torch.memory_format) -> None:
    image = picture()[None].contiguous(memory_format=layout)[0]
    found = detections(INSIDE)
    draw(image, found, NAMES, truth=found)
    assert torch.equal(image, picture())
    assert found.boxes.tolist() == [list(INSIDE)]


def test_edges_carry_the_colour_of_the_class() -> None:
    drawn = draw(picture(), detections(INSIDE), NAMES)
    for place in ((20, 50), (80, 50), (50, 70)):
        assert drawn.getpixel(place) == color_of(0)


def test_far_from_boxes_nothing_changes() -> None:
    drawn = draw(picture(), detections(INSIDE), NAMES)
    assert drawn.getpixel((110, 80)) == (100, 100, 100)


def test_scores_below_the_threshold_are_not_drawn() -> None:
    drawn = draw(picture(), detections(INSIDE, score=0.2), NAMES, threshold=0.3)
    assert drawn.getcolors() == [(90 * 120, (100, 100, 100))]


def test_ground_truth_is_drawn_whatever_its_score() -> None:
    nothing = detections()
    drawn = draw(picture(), nothing, NAMES, truth=detections(INSIDE, score=0.0))
    assert drawn.getcolors() != [(90 * 120, (100, 100, 100))]


@pytest.mark.parametrize(
    "box",
    [
        (-50.0, -40.0, 500.0, 400.0),
        (200.0, 200.0, 300.0, 300.0),
        (60.0, 60.0, 20.0, 20.0),
        (5.0, 5.0, 5.0, 5.0),
    ],
)
def test_boxes_outside_reversed_or_empty_do_no_harm(box: tuple[float, ...]) -> None:
    found = detections(box)
    assert draw(picture(), found, NAMES, truth=found).size == (120, 90)


def test_tags_never_hide_each_other() -> None:
    canvas = Canvas(Image.new("RGB", (300, 200)))
    for offset in range(20):
        canvas.tag((50.0 + offset, 60, 150, 160), f"cat {offset}", (200, 30, 30))
    assert 2 < len(canvas.tags) < 20
    for position, (left, top, right, bottom) in enumerate(canvas.tags):
        assert left >= 0
        assert top >= 0
        assert right < 300
        assert bottom < 200
        for other in canvas.tags[:position]:
            apart = right <= other[0] or other[2] <= left
            assert apart or bottom <= other[1] or other[3] <= top


def test_colours_of_classes_differ() -> None:
    assert len({color_of(label) for label in range(200)}) == 200


def test_a_sheet_holds_every_picture_once() -> None:
    colours = [(10 * n, 0, 0) for n in range(1, 6)]
    sheet = contact_sheet([Image.new("RGB", (20, 10 + n), c) for n, c in enumerate(colours)], 3)
    assert sheet.size == (3 * 28 + 8, 2 * 22 + 8)
    counts = {colour: number for number, colour in sheet.getcolors() or []}
    assert [counts[colour] for colour in colours] == [20 * (10 + n) for n in range(5)]


def test_a_sheet_is_no_wider_than_its_pictures() -> None:
    assert contact_sheet([Image.new("RGB", (20, 10))], 4).size == (36, 26)


@pytest.mark.parametrize(("images", "columns"), [(0, 2), (1, 0)])
def test_an_empty_sheet_is_refused(images: int, columns: int) -> None:
    with pytest.raises(ValueError, match="expected images and columns"):
        contact_sheet([Image.new("RGB", (2, 2))] * images, columns)
