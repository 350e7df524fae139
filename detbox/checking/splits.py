"""The rule of splits that are missing."""

from __future__ import annotations

from collections.abc import Iterator

from detbox.checking.rules import Found, rule
from detbox.checking.subject import Subject


@rule("warning", "training asks for some, and stops", "add data.val_fraction=0.2")
def no_validation(subject: Subject) -> Iterator[Found]:
    """There is a training split alone."""
    if [part.name for part in subject.parts] == ["train"]:
        what = "no pictures to validate; data.val_fraction=0.2 takes a fifth of these"
        yield Found(what, 1)
