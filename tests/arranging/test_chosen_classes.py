"""Classes chosen, ordered, renamed and merged."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import Images, made, named

from detbox.annotations.split import Split
from detbox.arranging.classes import chosen, in_classes, merged
from detbox.arranging.naming import class_names, merges
from detbox.errors import DataError, SettingError
from detbox.evaluation.coco import CocoEvaluator
from detbox.structures import Detections, LabelSpace

NAMES = ("car", "van", "cat", "dog")
IMAGES = st.lists(st.lists(st.sampled_from(NAMES), max_size=4), min_size=1, max_size=5)
SOME = [["van", "cat"], ["dog", "dog"], ["car"], []]


@given(IMAGES, st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
def test_chosen_classes_keep_their_objects_and_have_the_order_of_the_names(
    images: Images, keep: list[str]
) -> None:
    split = made(images, NAMES)
    left = chosen(split, keep)
    assert left.label_space.names == tuple(keep)
    assert left.label_space.category_ids == tuple(10 + NAMES.index(name) for name in keep)
    wanted = [[each for each in image if each[0] in keep] for image in named(split)]
    assert named(left) == wanted
    assert left.image_ids.tolist() == split.image_ids.tolist()


@given(IMAGES, st.dictionaries(st.sampled_from(NAMES[:2]), st.sampled_from(["cat", "pet"])))
def test_merging_renames_objects_and_moves_none(images: Images, merge: dict[str, str]) -> None:
    split = made(images, NAMES)
    after = merged(split, merge)
    assert named(after) == [
        [(merge.get(name, name), width) for name, width in image] for image in named(split)
    ]
    assert set(after.label_space.names) == {merge.get(name, name) for name in NAMES}


@pytest.mark.parametrize(
    ("merge", "names", "ids"),
    [
        ({"van": "car"}, ("car", "cat", "dog"), (10, 12, 13)),
        ({"car": "van"}, ("van", "cat", "dog"), (11, 12, 13)),
        ({"cat": "pet", "dog": "pet"}, ("car", "van", "pet"), (10, 11, 12)),
        ({"van": "bus"}, ("car", "bus", "cat", "dog"), (10, 11, 12, 13)),
    ],
)
def test_a_class_that_is_there_keeps_its_place_and_a_new_one_takes_the_first(
    merge: dict[str, str], names: tuple[str, ...], ids: tuple[int, ...]
) -> None:
    assert merged(made(SOME, NAMES), merge).label_space == LabelSpace(names, ids)


def test_what_was_done_is_counted() -> None:
    split = chosen(merged(made(SOME, NAMES), {"van": "car"}), ["car"])
    told = split.summary()
    assert "1 box under another name, van as car (first: 0.jpg)" in told
    assert "3 boxes of other classes left out (first: 0.jpg)" in told
    assert "1 image without another box kept as background (first: 1.jpg)" in told
    assert not any(each.defect for each in split.findings)


def read(part: str) -> Split | None:
    return made(SOME, NAMES) if part == "train" else made([["dog"]])


def test_training_has_all_that_are_named_and_validation_may_lack_some() -> None:
    arranged = in_classes(read, ["dog", "car"], {"van": "car"})
    train, val = arranged("train"), arranged("val")
    assert train is not None
    assert val is not None
    assert (train.label_space.names, val.label_space.names) == (("dog", "car"), ("dog",))
    assert in_classes(read, [], {}) is read
    with pytest.raises(DataError, match=r"/data has none of data\.classes, cat; it has dog"):
        in_classes(read, ["cat"], {})("val")


@pytest.mark.parametrize(
    ("keep", "merge", "told"),
    [
        (["cars"], {}, "data.classes: /data has no class 'cars'; did you mean 'car'?"),
        (["van"], {"van": "car"}, "'van' any more, which data.merge calls 'car'; name that"),
        ([], {"dogs": "cat"}, "data.merge: /data has no class 'dogs'; did you mean 'dog'?"),
    ],
)
def test_an_unknown_class_is_told_the_nearest(
    keep: list[str], merge: dict[str, str], told: str
) -> None:
    with pytest.raises(DataError) as caught:
        in_classes(read, keep, merge)("train")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"a": "b", "b": "c"}, "a -> b -> c, in several steps; give {a:c,...}"),
        ({"a": "b", "b": "a"}, "a -> b -> a, in a circle"),
        ({"a": "a"}, "a -> a, in a circle"),
        (["a:b", "a:c"], "gives a several names"),
        ({"a": None}, "no new name for 'a'"),
        ({"a": ""}, "no new name for 'a'"),
        ("a", "must be {OLD:NEW,...}, names of classes, got 'a'"),
        (["a:b:c"], "got ['a:b:c']"),
    ],
)
def test_merges_that_cannot_be_meant_are_refused(given: Any, told: str) -> None:
    with pytest.raises(SettingError) as caught:
        merges(given)
    assert told in str(caught.value)


def test_merges_are_a_mapping_or_a_list() -> None:
    assert merges({0: "b"}) == merges(["0:b"]) == {"0": "b"}
    assert merges(None) == merges({}) == {}
    with pytest.raises(SettingError, match="names a more than once"):
        class_names(["a", "b", "a"])


def test_a_detector_of_another_order_is_scored_by_names() -> None:
    split = chosen(made(SOME, NAMES), ["dog", "car"])
    evaluator = CocoEvaluator(split, LabelSpace(("car", "bee", "dog"), (1, 2, 3)))
    for index, image_id in enumerate(split.image_ids.tolist()):
        labels, shares = split.objects(index)
        boxes = (shares[:, :2].repeat(1, 2) + shares[:, 2:].repeat(1, 2) / 2) * 64
        boxes[:, :2] -= shares[:, 2:] * 64
        theirs = labels.new_tensor([2, 0])[labels]
        evaluator.update([image_id], [Detections(boxes, shares.new_ones(len(labels)), theirs)])
    assert {entry["category_id"] for entry in evaluator.results()} == {10, 13}
    assert round(evaluator.compute().AP, 6) == 1
