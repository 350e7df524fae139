"""The tables of an evaluation, whatever the classes are called."""

from __future__ import annotations

import io

import pytest
from odd_names import ODD_CLASSES
from rich.console import Console

from detbox.evaluation.metrics import tables
from detbox.figures import ClassMetrics, CocoMetrics
from detbox.messages import printable


@pytest.mark.parametrize("name", ODD_CLASSES)
def test_class_names_are_shown_as_they_are(name: str) -> None:
    figures = CocoMetrics._make([*[0.5] * 15, 7, 10, (ClassMetrics(name, 1, 3, 0.25, 0.5),)])
    file = io.StringIO()
    Console(file=file, width=80, force_terminal=True).print(tables(figures))
    shown = printable(name)
    told = file.getvalue()
    assert (shown if len(shown) <= 18 else shown[:17]).strip() in told
