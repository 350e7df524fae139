"""Each rule finds what is planted for it, and nothing where nothing is wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from coco_files import SHARED
from planted import (
    IMAGES,
    SIDE,
    Planted,
    annotation,
    as_jpeg,
    both,
    classes,
    copied,
    cut_off,
    deep,
    looked_at,
    more,
    name,
    not_divided,
    one_colour,
    picture,
    sized,
    turned,
    without,
    write,
)

from detbox.checking import RULES, Report, checked, duplicates

SMALL = "objects_below_a_stride"
OVER = "boxes_past_the_edge"
UNUSED = "classes_without_boxes"
DEFECTS = (
    Planted("boxes_without_area", annotation(5, bbox=[4, 4, 0, 9]), 1, (2,), (5,)),
    Planted("boxes_outside", annotation(5, bbox=[40, 4, 9, 9]), 1, (2,), (5,)),
    Planted(OVER, annotation(6, bbox=[20, 16, 20, 12]), 1, (2,), (6,)),
    Planted("thin_boxes", annotation(6, bbox=[2, 16, 0.9, 12]), 1, (2,), (6,), (SMALL,)),
    Planted("long_boxes", annotation(6, bbox=[2, 16, 1.4, 30]), 1, (2,), (6,), (OVER, SMALL)),
    Planted("crowd_regions", annotation(6, iscrowd=1), 1, (2,), (6,), ("usual_class_missing",)),
    Planted("boxes_twice", more(2, bbox=[4, 4, 12, 9]), 2, (0, 0), (901, 902)),
    Planted("boxes_nearly_twice", more(1, bbox=[4, 4, 12, 8.4]), 1, (0,), (901,)),
    Planted("boxes_of_two_classes", more(1, bbox=[4, 4, 12, 9], category_id=2), 1, (0,), (901,)),
    Planted("parent_class", classes((0, "parts"), (1, "bolt"), (2, "nut")), 1),
    Planted(UNUSED, classes((1, "bolt"), (2, "nut"), (3, "x"), (4, "y")), 2),
    Planted(
        "unused_numbers", classes((1, "bolt"), (2, "nut"), (5, "x"), (6, "y")), 2, besides=(UNUSED,)
    ),
    Planted(
        "names_alike", classes((1, "bolt"), (2, "nut"), (3, "Nut "), (4, "y")), 1, besides=(UNUSED,)
    ),
    Planted("unequal_classes", without(2, range(2, IMAGES)), 2),
    Planted("classes_of_one_split", without(2, range(IMAGES)), 1),
    Planted(
        "classes_unknown_to_training",
        classes((1, "bolt"), (2, "other")),
        1,
        besides=("classes_of_one_split", UNUSED),
    ),
    Planted("usual_class_missing", without(2, range(3, 5)), 2, (3, 4)),
    Planted(
        "empty_pictures", both(without(1, range(12)), without(2, range(12))), 12, tuple(range(12))
    ),
    Planted(
        "more_objects_than_queries",
        more(299, image_id=4, bbox=lambda at: [at % 17, at // 17, 14, 14.5 + at % 2]),
        1,
        (3,),
        besides=("boxes_nearly_twice", OVER, "unequal_classes"),
    ),
    Planted(SMALL, annotation(5, bbox=[4, 4, 7, 7]), 1, (2,), (5,)),
    Planted("missing_files", picture(2, Path.unlink), 1, (2,)),
    Planted("unreadable_files", picture(2, lambda file: file.write_text("no picture")), 1, (2,)),
    Planted("truncated_files", picture(2, cut_off), 1, (2,)),
    Planted("files_of_another_shape", sized(2, 64, 32), 1, (2,), besides=(SMALL,)),
    Planted("files_of_another_size", sized(2, 64, 64), 1, (2,), besides=(SMALL,)),
    Planted("misnamed_files", picture(2, as_jpeg), 1, (2,)),
    Planted("turned_by_exif", picture(2, turned(3)), 1, (2,)),
    Planted("flat_files", picture(2, one_colour), 1, (2,)),
    Planted("odd_files", picture(2, deep), 1, (2,)),
    Planted("alike_across_splits", picture(2, copied), 1, (2, 3)),
    Planted("alike_in_split", picture(2, lambda file: copied(file, ".")), 2, (2, 3)),
    Planted("found_in_reading", more(1, image_id=77), 1),
)


def found_in(root: Path, queries: int | None = None, side: int = SIDE) -> Report:
    return checked(looked_at(root, queries=queries, side=side))


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.rule)
def test_what_is_planted_is_found_with_its_places(defect: Planted, tmp_path: Path) -> None:
    report = found_in(write(tmp_path / "set", defect.plant))
    (own,) = [each.found for each in report.defects if each.name == defect.rule]
    assert own.number == defect.number
    split = report.part("train").split
    assert [place.image for place in own.places] == list(defect.files)
    places = [at for place in own.places for at in place.objects]
    assert split.object_ids[places].tolist() == list(defect.ids)
    assert {each.name for each in report.defects} - {defect.rule} <= set(defect.besides)


def test_every_rule_has_a_planted_defect() -> None:
    assert {each.rule for each in DEFECTS} | {"no_validation"} == set(RULES)
    assert all(rule.harm or name == "found_in_reading" for name, rule in RULES.items())


def test_training_alone_is_told_how_to_be_divided(tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    shutil.rmtree(root / "val")
    (root / "annotations" / "instances_val.json").unlink()
    (defect,) = found_in(root).defects
    assert (defect.name, defect.severity) == ("no_validation", "warning")
    assert "data.val_fraction=0.2" in defect.found.what
    divided = checked(looked_at(root, val_fraction=0.2))
    assert "no_validation" not in {each.name for each in divided.defects}
    whole = checked(looked_at(not_divided(write(tmp_path / "other"), tmp_path / "whole")))
    assert [each.name for each in whole.defects] == ["found_in_reading"]


def test_a_flawless_set_has_nothing_to_say(tmp_path: Path) -> None:
    report = found_in(write(tmp_path / "set"))
    assert not report.defects
    assert report.as_json()["status"] == 0


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real pictures beside the checkout")
def test_real_pictures_give_what_is_known_of_them() -> None:
    coco = found_in(SHARED / "coco_sample", side=640)
    assert [each.name for each in coco.defects if each.severity != "note"] == [
        "alike_across_splits"
    ]
    bccd = found_in(SHARED / "bccd", side=640)
    told = {(each.name, each.found.split): each.found for each in bccd.defects}
    assert [each.name for each in bccd.errors] == ["boxes_without_area"]
    (lost,) = [each for each in bccd.as_json()["defects"] if each["rule"] == "boxes_without_area"]
    assert [each["annotation_ids"] for each in lost["examples"]] == [[3153], [3197]]
    assert told["boxes_nearly_twice", "train"].number == 6
    assert told["boxes_nearly_twice", "val"].number == 1
    assert told["alike_in_split", "train"].number == 2
    lacking = {each.found.what for each in bccd.defects if each.name == "usual_class_missing"}
    assert "12 pictures without RBC, which 96 % have" in lacking
    assert "3 pictures without RBC, which 96 % have" in lacking


def test_objects_of_a_full_picture_are_compared_with_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spread = more(9, bbox=lambda at: [2 * (at % 8), 2 * (at % 8), 8, 8])  # the last as the first
    root = write(tmp_path / "set", spread)
    whole = found_in(root).as_json()
    assert [each["number"] for each in whole["defects"] if each["rule"] == "boxes_twice"] == [1]
    monkeypatch.setattr(duplicates, "ROWS", 3)
    assert found_in(root).as_json() == whole


def test_half_turns_are_as_the_quarter_turns_beside_them(tmp_path: Path) -> None:
    half, quarter = picture(2, turned(3)), picture(3, turned(6, 48))
    upright, raw = sized(3, SIDE, 48), sized(3, 48, SIDE)
    for folder, plant, warned in (("a", upright, 0), ("b", raw, 2)):
        report = found_in(write(tmp_path / folder, both(half, quarter, plant)))
        found = [each for each in report.defects if each.name == "turned_by_exif"]
        assert [(each.severity, each.found.number) for each in found] == [
            ("warning" if warned else "note", 2)
        ]


def test_queries_of_a_model_take_the_place_of_usual_ones(tmp_path: Path) -> None:
    root = write(tmp_path / "set", more(4, image_id=2, bbox=lambda at: [at, 18, 9, 14 - at]))
    (found,) = [each for each in found_in(root, queries=5).defects if "queries" in each.name]
    assert found.severity == "warning"
    assert found.found.what == "1 picture with more objects than 5 queries, up to 6"


def test_lines_are_sorted_by_harm_and_name_files(tmp_path: Path) -> None:
    plant = both(classes((0, "parts"), (1, "bolt"), (2, "nut")), annotation(5, bbox=[4, 4, 0, 9]))
    report = found_in(write(tmp_path / "set", plant))
    first, second, *_ = report.lines()
    place = f"annotation 5 of train's {name(2)}"
    assert first.startswith(f"error    1 box without an area ({place}): the object is left out")
    assert second.startswith("warning  1 class without boxes, first or last of the list: 'parts'")
    assert report.summary() == "44 images, 87 boxes, 3 classes: 1 error, 1 warning, 0 notes"


def test_pictures_of_both_splits_tell_what_is_wrong_once(tmp_path: Path) -> None:
    plant = both(
        annotation(5, bbox=[4, 4, 0, 9]), picture(4, cut_off), without(2, range(2, IMAGES))
    )
    root = write(tmp_path / "set", plant)
    alone = checked(looked_at(other := not_divided(root, tmp_path / "ü")))
    shutil.copytree(root / "val", empty := tmp_path / "no objects")
    shared = checked(looked_at(other, negatives=str(empty)))
    assert len(alone.subject.parts) == 1
    assert len(shared.subject.parts) == 2
    assert shared.summary().startswith(
        f"{2 * IMAGES} images, {alone.subject.parts[0].split.num_boxes} boxes"
    )
    told = [each.found.what for each in shared.defects]
    assert len(set(told)) == len(told)
    assert {each.name for each in alone.defects} <= {each.name for each in shared.defects}
    beside = checked(looked_at(root, other))
    (cut,) = [each for each in beside.defects if each.name == "truncated_files"]
    assert (cut.found.number, cut.found.split) == (2, "train")
