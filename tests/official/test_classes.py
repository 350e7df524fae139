"""What the labels of an official checkpoint are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detbox.official.classes import COCO, given_label_space, official_label_space
from detbox.structures import LabelSpace


def test_heads_of_91_rows_keep_cocos_ids() -> None:
    space = official_label_space(91)
    assert space.category_ids == tuple(range(91))
    assert space.names[1] == "person"
    assert space.names[90] == "toothbrush"
    assert [n for n in space.names if n.startswith("unused")][:2] == ["unused 0", "unused 12"]
    assert len(set(space.names)) == 91


def test_heads_of_80_rows_count_the_classes_that_exist() -> None:
    space = official_label_space(80)
    assert space.names[79] == "toothbrush"
    assert space.category_ids[79] == 90


def test_the_names_are_those_of_coco(shared: Path) -> None:
    file = shared / "data" / "coco_sample" / "annotations" / "instances_val2017.json"
    categories = json.loads(file.read_text(encoding="utf-8"))["categories"]
    assert dict(COCO) == {each["id"]: each["name"] for each in categories}


def test_other_heads_are_numbered() -> None:
    assert official_label_space(2).names == ("class 0", "class 1")


def test_given_categories_fit_by_count_or_by_id() -> None:
    given = LabelSpace(("dog", "cat"), (1, 3))
    assert given_label_space(given, 2).names == ("dog", "cat")
    by_id = given_label_space(given, 4)
    assert by_id.names == ("unused 0", "dog", "unused 2", "cat")
    with pytest.raises(ValueError, match=r"tells 7 classes apart, .*expected 2 or 4"):
        given_label_space(given, 7)
