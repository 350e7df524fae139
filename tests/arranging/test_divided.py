"""Pictures of one folder on two sides: whole, disjoint, the same everywhere, and said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import detbox
from detbox.annotations.labelled import Labelled, split_of_pictures
from detbox.annotations.split import Split
from detbox.arranging import Read
from detbox.arranging.divided import Divided, Dividing
from detbox.arranging.pooled import pooled
from detbox.build import build_data
from detbox.errors import DetboxError

LABELS = st.lists(st.sets(st.sampled_from("abcd")), min_size=5, max_size=40)
FIFTH = Dividing(val_fraction=0.2)


def labelled(labels: Sequence[set[str]], folder: Path = Path("none")) -> Split:
    """Pictures 0.png, 1.png, ... with those classes."""
    listed = [
        Labelled(f"{at}.png", sorted(own), np.full((len(own), 4), 9.0), (40, 40))
        for at, own in enumerate(labels)
    ]
    return split_of_pictures(folder / "all.json", folder, listed)


def both(split: Split) -> Read:
    """A folder that is not divided."""
    return lambda name: split


def names(split: Split | None) -> list[str]:
    assert split is not None
    return [split.names[index] for index in range(split.num_images)]


def sides(read: Read, dividing: Dividing = FIFTH) -> tuple[list[str], list[str]]:
    divided = Divided(read, dividing)
    return names(divided("train")), names(divided("val"))


@settings(deadline=None)
@given(LABELS, st.integers(0, 99))
def test_sides_are_disjoint_whole_and_the_same_in_any_order(
    labels: list[set[str]], seed: int
) -> None:
    split, dividing = labelled(labels), FIFTH._replace(split_seed=seed)
    train, val = sides(both(split), dividing)
    assert sorted([*train, *val]) == sorted(names(split))
    assert train
    assert val
    order = np.random.default_rng(seed).permutation(len(labels)).tolist()
    shuffled = sides(both(split.of_images(order)), dividing)
    assert [set(train), set(val)] == list(map(set, shuffled))


@settings(deadline=None)
@given(LABELS, st.integers(2, 5))
def test_every_picture_validates_in_one_fold(labels: list[set[str]], folds: int) -> None:
    split = labelled(labels)
    found = [sides(both(split), Dividing(folds=folds, fold=fold)) for fold in range(folds)]
    assert sorted(name for _, val in found for name in val) == sorted(names(split))
    assert all(sorted([*train, *val]) == sorted(names(split)) for train, val in found)


def test_a_division_is_the_same_on_every_machine() -> None:
    split = labelled([{"a"}, {"b"}] * 5)
    assert sides(both(split))[1] == ["0.png", "7.png"]
    assert sides(both(split), FIFTH._replace(split_seed=1))[1] == ["2.png", "7.png"]


def drawn(folder: Path, seeds: Sequence[int]) -> Split:
    """Noise; pictures of one seed are alike."""
    for at, seed in enumerate(seeds):
        coarse = np.random.default_rng(seed).integers(0, 256, (12, 12), np.uint8)
        Image.fromarray(coarse).resize((40 + at, 40)).save(folder / f"{at}.png")
    return labelled([{"a"}] * len(seeds), folder)


def test_near_duplicates_are_on_one_side_unless_that_is_switched_off(tmp_path: Path) -> None:
    split = drawn(tmp_path, [at // 2 for at in range(20)])
    train, val = sides(both(split))
    assert {int(name[:-4]) // 2 for name in train}.isdisjoint(int(n[:-4]) // 2 for n in val)
    assert len(val) == 4
    apart = sides(both(split), FIFTH._replace(keep_alike=False))[1]
    assert len({int(name[:-4]) // 2 for name in apart}) == 4


def test_a_group_that_is_much_of_the_set_is_warned_of(tmp_path: Path) -> None:
    split = drawn(tmp_path, [0] * 7 + list(range(1, 9)))
    train = Divided(both(split), FIFTH)("train")
    assert train is not None
    (warning,) = [each for each in train.findings if each.defect]
    assert "7 images are alike, each to another one" in str(warning)
    assert "with 1 group of near-duplicates on one side each, the largest of 7" in train.summary()


def test_many_more_pictures_than_asked_for_are_told_of() -> None:
    twice = [{name} for name in "abcdefghij" * 2]
    val = Divided(both(labelled(twice)), FIFTH)("val")
    assert val is not None
    assert val.num_images == 10
    assert "10 to validate in place of 4, so that 10 classes are on both sides" in val.summary()
    assert "in place of" not in Divided(both(labelled([{"a"}] * 20)), FIFTH).division().told


def test_a_side_says_of_how_many_and_by_what_it_was_divided() -> None:
    divided = Divided(both(labelled([{"a"}] * 9 + [set()])), FIFTH)
    train, val = divided("train"), divided("val")
    assert train is not None
    assert val is not None
    told = "images of 10 to train on, divided by data.val_fraction=0.2 data.split_seed=0 (first: "
    assert f"8 {told}" in train.summary()
    assert "1 image without boxes kept" in train.summary()
    assert "2 images of 10 to validate, divided by" in val.summary()
    assert "without boxes" not in val.summary()


def test_pictures_that_one_split_has_alone_stay_there() -> None:
    whole = labelled([{"a"}] * 12)
    read = {"train": whole.of_images(range(11)), "val": whole.of_images([*range(10), 11])}
    train, val = sides(read.__getitem__)
    assert "10.png" in train
    assert "11.png" in val
    assert sorted([*train, *val]) == sorted(names(whole))
    assert len(val) == 3


@pytest.mark.parametrize("first", [1, 5])
def test_two_splits_are_divided_together_where_that_is_asked(first: int, tmp_path: Path) -> None:
    train, val = labelled([{"a", "c"}] * 8, tmp_path / "t"), labelled([{"b"}] * 4, tmp_path / "v")
    train = train._replace(image_ids=train.image_ids + first * 10)
    val = val._replace(image_ids=val.image_ids + 10)
    read = {"train": train, "val": val}.__getitem__
    divided = Divided(read, Dividing(folds=2, fold=0, pool=True))
    ours, theirs = divided("train"), divided("val")
    assert sorted([*names(ours), *names(theirs)]) == sorted(
        [*(f"t/{at}.png" for at in range(8)), *(f"v/{at}.png" for at in range(4))]
    )
    assert ours is not None
    assert theirs is not None
    assert np.bincount(theirs.labels).tolist() == [4, 4, 2]
    assert set(ours.image_ids).isdisjoint(theirs.image_ids)
    assert ("numbered from 1 on" in ours.summary()) == (first == 1)


def test_what_is_one_set_already_is_pooled_as_it_is() -> None:
    whole = labelled([{"a"}] * 4)
    assert pooled(both(whole))("val") is whole
    assert pooled(lambda name: whole if name == "val" else None)("train") is whole


@pytest.mark.parametrize("missing", ["train", "val"])
def test_one_split_alone_is_divided(missing: str) -> None:
    split = labelled([{"a"}] * 10)
    train, val = sides(lambda name: None if name == missing else split)
    assert (len(train), len(val)) == (8, 2)


def refused(read: Read, dividing: Dividing) -> str:
    with pytest.raises(DetboxError) as error:
        Divided(read, dividing.checked())("train")
    return str(error.value)


def test_what_cannot_be_divided_is_refused_with_the_next_step(tmp_path: Path) -> None:
    one, two = labelled([{"a"}]), labelled([{"a"}, {"b"}])
    assert list(map(len, sides(both(two)))) == [1, 1]
    assert "makes 2 parts, none/all.json has 1 image; add images" in refused(both(one), FIFTH)
    alike = refused(both(drawn(tmp_path, [3, 3])), FIFTH)
    assert "has 2 images in 1 group of near-duplicates; data.keep_alike=false" in alike
    assert "makes 3 parts, none/all.json has 2 images; add images" in refused(
        both(two), Dividing(folds=3, fold=0)
    )
    there = {"train": two, "val": labelled([{"a"}], Path("other"))}
    assert "or add data.pool=true to divide both" in refused(there.__getitem__, FIFTH)
    assert "two ways" in refused(both(two), Dividing(val_fraction=0.2, folds=2, fold=0))
    assert "give data.val_fraction=0.2 too" in refused(both(two), Dividing(pool=True))
    assert "give data.folds=5 too" in refused(both(two), Dividing(fold=0))
    for fold in (None, 2):
        told = refused(both(two), Dividing(folds=2, fold=fold))
        assert f"data.fold from 0 to 1, got {fold}; one training for each: -m data.folds=2" in told


@pytest.mark.parametrize("setting", ["val_fraction=0", "val_fraction=1", "val_fraction=20"])
def test_a_fraction_is_within_0_and_1(setting: str) -> None:
    with pytest.raises(DetboxError, match="must be above 0 to below 1"):
        build_data(detbox.compose("data=folder", "data.root=x", f"data.{setting}"))


def test_a_file_keeps_the_sides_when_pictures_come_and_go(tmp_path: Path) -> None:
    divided = Divided(both(labelled([{"a"}] * 10)), FIFTH)
    divided.division().write(tmp_path / "division.json")
    later = labelled([set()] * 9 + [{"a"}] * 3)
    later = later.of_images([at for at in range(12) if f"{at}.png" != min(names(divided("val")))])
    again = Divided(both(later), Dividing(division=str(tmp_path / "division.json")))
    train, val = again("train"), again("val")
    assert names(train) == names(divided("train"))
    assert names(val) == names(divided("val"))[1:]
    assert val is not None
    assert "2 images left out that came after the division (first: 10.png)" in val.summary()
    assert "1 image of the division not there any more" in val.summary()
    assert again.division() == divided.division()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "there is no such file"),
        ("[]", "expected"),
        ("{", "expected"),
        ('{"train": ["0.png"]}', "expected"),
        ('{"train": "0.png", "val": [1]}', "expected"),
        ('{"train": ["0.png"], "val": ["0.png"]}', "1 name on both sides (first: 0.png)"),
        ('{"train": ["x"], "val": ["y"]}', "none of its 2 images is among the 1 to train on"),
    ],
)
def test_a_file_of_something_else_is_refused(
    content: str | None, told: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.json"
    if content is not None:
        file.write_text(content)
    assert told in refused(both(labelled([{"a"}] * 2)), Dividing(division=str(file)))


def test_settings_divide_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "my pictures, ä"
    folder.mkdir()
    drawn(folder, range(10))
    images: list[dict[str, Any]] = [
        {"id": at, "file_name": f"{at}.png", "width": 40 + at, "height": 40} for at in range(10)
    ]
    boxes = [{"id": at, "image_id": at, "category_id": 1, "bbox": [1, 1, 9, 9]} for at in range(10)]
    categories = [{"id": 1, "name": "a"}]
    content = {"images": images, "annotations": boxes, "categories": categories}
    (folder / "result.json").write_text(json.dumps(content))
    cfg = detbox.compose("data=folder", "data.workers=0", "data.val_fraction=0.3")
    cfg.data.root = str(folder)
    data = build_data(cfg)
    assert (data.train.num_images, data.val.num_images) == (7, 3)
    assert not [each for each in data.train.findings if "alike" in each.what]
    del cfg.data.val_fraction
    assert "data.val_fraction=0.2 divides it" in build_data(cfg).train.summary()
