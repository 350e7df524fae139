"""What would hurt a training, looked for before it; importing this registers every rule."""

from __future__ import annotations

from detbox.checking import (
    alike,
    boxes,
    classes,
    duplicates,
    names,
    pictures,
    reading,
    sizes,
    splits,
)
from detbox.checking.report import Report, checked
from detbox.checking.rules import RULES, Found, Place, rule
from detbox.checking.subject import Part, Subject

__all__ = [
    "RULES",
    "Found",
    "Part",
    "Place",
    "Report",
    "Subject",
    "alike",
    "boxes",
    "checked",
    "classes",
    "duplicates",
    "names",
    "pictures",
    "reading",
    "rule",
    "sizes",
    "splits",
]
