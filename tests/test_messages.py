"""Text of users in messages: on one line, and nothing in it is obeyed."""

from __future__ import annotations

import pytest
from odd_names import ODD_CLASSES

from detbox.messages import printable, some


@pytest.mark.parametrize("text", ODD_CLASSES)
def test_text_stays_on_one_line_without_control_characters(text: str) -> None:
    for told in (printable(text), some([text])):
        assert len(told.splitlines()) <= 1
        assert not any(sign in told for sign in "\x1b\t\u202e\ud83d")


@pytest.mark.parametrize(
    "text", ["猫", "बिल्ली", "👨\u200d👩\u200d👧", "می\u200cخواهم", "Straße", " a "]
)
def test_what_can_be_read_is_left_alone(text: str) -> None:
    assert printable(text) == text
