"""What does not fit is told wholly and shortly."""

from __future__ import annotations

import torch

from detbox.misfit import Misfit, misfit

WANTED = {"body": torch.zeros(2, 3), "head": torch.zeros(4, 3), "scale": torch.zeros(())}


def test_equal_names_and_shapes_fit() -> None:
    assert not misfit(WANTED, {name: each + 1 for name, each in WANTED.items()})
    assert str(Misfit()) == "nothing"


def test_what_is_missing_left_and_of_another_shape_is_named() -> None:
    stored = {"body": torch.zeros(2, 2), "head": WANTED["head"], "ghost": torch.zeros(1)}
    assert str(misfit(WANTED, stored)) == (
        "1 missing (scale), 1 left over (ghost), 1 unlike (body (2, 2), expected (2, 3))"
    )


def test_rows_by_class_may_differ_or_be_missing() -> None:
    stored = {**WANTED, "head": torch.zeros(9, 3)}
    assert not misfit(WANTED, stored, by_class=["head"])
    assert not misfit(WANTED, {name: WANTED[name] for name in ("body", "scale")}, ["head"])
    assert misfit(WANTED, {**WANTED, "head": torch.zeros(9, 2)}, ["head"]).unlike


def test_long_lists_are_cut_and_counted() -> None:
    assert "12 missing (n0, n1, n2, n3, n4 and 7 more)" in str(
        Misfit(missing=tuple(f"n{i}" for i in range(12)))
    )
