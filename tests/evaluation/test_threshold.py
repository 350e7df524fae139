"""The threshold that is advised where one shows nothing."""

from __future__ import annotations

import pytest

from detbox.evaluation.threshold import advice


def test_the_advice_shows_something_in_half_of_the_empty_pictures() -> None:
    best = [0.9] * 19 + [0.25, 0.187, 0.02] * 7
    line = advice(best, 0.3)
    assert line.startswith("above 0.3 nothing was found in 21 of 40 pictures, try threshold=0.18")
    assert sum(score >= 0.18 for score in best[19:]) >= 21 / 2


def test_where_something_is_found_everywhere_nothing_is_said() -> None:
    assert advice([0.3, 0.9], 0.3) == ""


@pytest.mark.parametrize("best", [[0.0], [0.009, 0.001]])
def test_scores_of_nothing_are_no_threshold(best: list[float]) -> None:
    assert "below 0.01" in advice(best, 0.3)
    assert "try" not in advice(best, 0.3)
