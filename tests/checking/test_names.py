"""Names of classes that are another one's by a slip, and how they are joined."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detbox.arranging.naming import merges
from detbox.checking.names import likely_meant, merging, slips
from detbox.commands.values import parsed, written_names

WORDS = st.text("abc", max_size=6)


@pytest.mark.parametrize(
    ("boxes", "meant"),
    [
        ({"Platelet": 3, "Platelets": 300}, {"Platelet": "Platelets"}),
        ({"RCB": 1, "RBC": 700, "WBC": 50}, {"RCB": "RBC"}),
        ({"wbc": 40, "WBC": 50, "W B-C": 0}, {"wbc": "WBC", "W B-C": "WBC"}),
        (
            {"Thrombozyt": 2, "Trombozyten": 30, "thrombozyten": 400},
            {"Thrombozyt": "thrombozyten", "Trombozyten": "thrombozyten"},
        ),
        ({"car": 30, "cars": 290}, {}),
        ({"Platelet": 0, "Platelets": 300}, {}),
        ({"M3 screw": 1, "M4 screw": 99, "a": 1, "b": 99, "+": 1, "-": 99}, {}),
        ({"Erythrozit": 1, "Erythrozyt": 99}, {"Erythrozit": "Erythrozyt"}),
        ({"mother": 1, "father": 99, "truck": 1, "trunks": 99}, {}),
    ],
)
def test_a_rare_name_is_the_frequent_one_but_for_a_slip(
    boxes: dict[str, int], meant: dict[str, str]
) -> None:
    assert likely_meant(boxes) == meant


@given(WORDS, WORDS)
def test_slips_are_counted_either_way_and_each_is_one(one: str, other: str) -> None:
    assert slips(one, other) == slips(other, one)
    assert (slips(one, other) == 0) == (one == other)
    assert slips(one, one[:1] + "x" + one[1:]) == 1
    if one[:2] != one[1::-1]:
        assert slips(one, one[1::-1] + one[2:]) == 1
    assert abs(len(one) - len(other)) <= slips(one, other) <= len(one) + len(other)


@settings(deadline=None)
@given(st.text(min_size=1), st.text(min_size=1))
def test_what_joins_them_can_be_typed(old: str, new: str) -> None:
    if old != new and (typed := merging({old: new})):
        (setting,) = shlex.split(typed)
        value = parsed(written_names(setting.removeprefix("data.merge="), sweeps=False))
        assert merges(value) == {old: new}


def test_names_are_typed_as_short_as_can_be() -> None:
    assert merging({"Platelet": "Platelets"}) == "'data.merge={Platelet:Platelets}'"
    assert merging({"a, b": "c d", "[ü]": "ü"}) == """'data.merge={"a, b":c d,"[ü]":ü}'"""
    assert merging({"a:b": "a b"}) == ""
