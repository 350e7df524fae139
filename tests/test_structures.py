"""The types that flow: targets by image, pictures without padding, classes by id."""

from __future__ import annotations

import pytest
import torch
from scenes import random_boxes, random_predictions, random_targets

from detbox.structures import ENCODER, ImageBatch, LabelSpace, Matches, Origin, Outputs

LAYOUTS = [(0, 1, 2), (1, 2, 3), (3, 17, 90)]


@pytest.mark.parametrize("counts", [(2, 3), (0, 4, 0, 1), (0, 0), (5,), ()])
def test_targets_come_apart_by_image(counts: tuple[int, ...]) -> None:
    targets = random_targets(*counts)
    parts = [targets.of(image) for image in range(len(counts))]
    assert tuple(len(labels) for labels, _ in parts) == counts
    labels = [label for part, _ in parts for label in part.tolist()]
    boxes = [box for _, part in parts for box in part.tolist()]
    assert labels == targets.labels.tolist()
    assert boxes == targets.boxes.tolist()


def test_starts_are_the_objects_before_an_image() -> None:
    assert random_targets(2, 0, 3, 1).starts == (0, 2, 2, 5)


@pytest.mark.parametrize("size", [(4, 6), (6, 4), (6, 6), (1, 1)])
def test_an_image_is_found_again_without_its_padding(size: tuple[int, int]) -> None:
    picture = torch.rand(3, *size)
    pixels, mask = torch.zeros(2, 3, 6, 6), torch.ones(2, 6, 6, dtype=torch.bool)
    pixels[1, :, : size[0], : size[1]] = picture
    mask[1, : size[0], : size[1]] = False
    assert torch.equal(ImageBatch(pixels, mask).unpadded(1), picture)


def test_outputs_list_the_prediction_first() -> None:
    first, second = (random_predictions(1, 2, each) for each in (Origin(1, "match"), ENCODER))
    assert [each.name for each in Outputs(first, (second,)).all] == ["decoder1/match", "encoder"]


def test_matches_move_together() -> None:
    matches = Matches(*torch.zeros(3, 4, dtype=torch.int64)).to(torch.device("meta"))
    assert all(index.is_meta for index in matches)


@pytest.mark.parametrize("ids", LAYOUTS)
def test_labels_are_contiguous_in_the_order_of_ids(ids: tuple[int, ...]) -> None:
    categories = [{"id": each, "name": f"class {each}"} for each in ids]
    space = LabelSpace.from_categories(categories)
    assert len(space) == 3
    assert space.category_ids == ids
    assert space.names == tuple(f"class {each}" for each in ids)
    assert LabelSpace.from_categories(categories[::-1]) == space


@pytest.mark.parametrize("ids", LAYOUTS)
def test_a_label_space_survives_plain_containers(ids: tuple[int, ...]) -> None:
    space = LabelSpace(("a", "b", "c"), ids)
    stored = space.to_dict()
    assert all(type(value) is list for value in stored.values())
    assert LabelSpace.from_dict(stored) == space


def test_classes_that_share_an_id_are_refused() -> None:
    with pytest.raises(ValueError, match=r"ids must be unique, got \(1, 1\)"):
        LabelSpace.from_categories([{"id": 1, "name": "a"}, {"id": 1, "name": "b"}])


def test_classes_may_share_a_name() -> None:
    space = LabelSpace.from_categories([{"id": 2, "name": "bat"}, {"id": 1, "name": "bat"}])
    assert space == LabelSpace(("bat", "bat"), (1, 2))


def test_random_boxes_lie_inside_the_image() -> None:
    center, size = random_boxes(50).split(2, -1)
    assert (center - size / 2 >= -1e-6).all()
    assert (center + size / 2 <= 1 + 1e-6).all()


@pytest.mark.parametrize(
    ("ours", "theirs", "shared"),
    [
        ((("cat", 1), ("dog", 2)), (("dog", 7), ("cat", 9)), {0: 1, 1: 0}),
        ((("cat", 1), ("cat", 2)), (("cat", 2),), {1: 0}),
        ((("cat", 1),), (("cat", 3), ("cat", 4)), {}),
        ((("cat", 1),), (("dog", 1),), {}),
    ],
)
def test_classes_are_the_same_by_name_never_by_id_alone(
    ours: tuple[tuple[str, int], ...],
    theirs: tuple[tuple[str, int], ...],
    shared: dict[int, int],
) -> None:
    spaces = (LabelSpace(*zip(*pairs, strict=True)) for pairs in (ours, theirs))
    first, second = spaces
    assert first.labels_in(second) == shared
