"""The signature is the schema: keys, types and choices are checked, near misses named."""

from __future__ import annotations

from typing import Literal

import pytest

from detbox.messages import some
from detbox.registry import Registry


@pytest.fixture
def parts() -> Registry:
    registry = Registry("part")

    @registry.register("toy")
    def toy(thing: object, *, width: int = 3, mode: Literal["fast", "slow"] = "fast") -> tuple:
        return thing, width, mode

    return registry


def test_objects_are_positional_and_settings_come_by_name(parts: Registry) -> None:
    assert parts.build({"name": "toy", "width": 5}, "thing") == ("thing", 5, "fast")


def test_an_unknown_name_is_answered_with_the_nearest(parts: Registry) -> None:
    with pytest.raises(KeyError, match="did you mean 'toy'"):
        parts.build({"name": "toi"}, "thing")


def test_an_unknown_setting_is_answered_with_the_nearest(parts: Registry) -> None:
    with pytest.raises(KeyError, match="did you mean 'width'"):
        parts.build({"name": "toy", "widht": 5}, "thing")


def test_a_value_outside_the_choices_is_refused(parts: Registry) -> None:
    with pytest.raises(ValueError, match=r"part\.mode has no choice 'slo'; did you mean 'slow'"):
        parts.build({"name": "toy", "mode": "slo"}, "thing")


def test_a_name_is_registered_once(parts: Registry) -> None:
    with pytest.raises(KeyError, match="registered already"):
        parts.register("toy")(lambda: None)


def test_a_part_says_which_scores_it_reads() -> None:
    costs, readers = Registry("cost"), Registry("reader")
    costs.register("own", scores="softmax")(lambda: None)
    readers.register("fixed", scores="sigmoid")(lambda: None)
    readers.register("boxes", scores=None)(lambda: None)

    @readers.register("free", scores=costs)
    def free(*, cost: str = "own") -> None: ...

    assert [readers.scores({"name": name}) for name in ("fixed", "boxes", "free")] == [
        *("sigmoid", None, "softmax")
    ]
    assert readers.fitting("softmax") == ["free reader.cost=own"]


def test_a_part_that_does_not_say_is_refused_with_what_to_declare(parts: Registry) -> None:
    with pytest.raises(ValueError, match=r"part 'toy' does not say .* scores=\"sigmoid\""):
        parts.scores({"name": "toy"})


def test_a_message_names_a_few_and_counts_the_rest() -> None:
    assert some([]) == "none"
    assert some(["a", "b"], shown=2) == "a, b"
    assert some(["a", "b", "c", "d"], shown=2) == "a, b and 2 more"
