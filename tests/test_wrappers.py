"""The model is found in files of any training, averaged weights first."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from detbox.wrappers import find_tensors

NAMES = ("backbone.a", "transformer.b", "class_embed.c")


def model(value: float = 0.0, prefix: str = "") -> dict[str, Tensor]:
    return {prefix + name: torch.tensor(value) for name in NAMES}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda own, ema: {"ema": {"module": ema, "updates": 3}, "model": own},
        lambda own, ema: {"model": own, "ema_model": ema, "epoch": 1},
        lambda own, ema: {"model_ema": {"model": ema}, "state_dict": own},
        lambda own, ema: {"state_dict": own, "state_dict_ema": ema, "arch": "x"},
        lambda own, ema: {"state_dict": {**_below("model", own), **_below("ema_model", ema)}},
        lambda _, ema: {"teacher": _below("module", ema)},
        lambda _, ema: ema,
    ],
)
def test_averaged_weights_are_found_first(wrap: Any) -> None:
    found = find_tensors(wrap(model(0.0), model(1.0)))
    assert tuple(found.tensors) == NAMES
    assert set(map(float, found.tensors.values())) == {1.0}


@pytest.mark.parametrize("prefix", ["module.", "module.model.", "model._orig_mod.", "detector."])
def test_prefixes_come_off_in_any_order(prefix: str) -> None:
    found = find_tensors({"state_dict": {**model(prefix=prefix), "criterion.w": torch.ones(1)}})
    assert tuple(found.tensors) == NAMES
    assert (found.prefix, found.left) == (prefix, ("criterion",))


def test_a_few_tensors_of_another_kind_do_not_compete() -> None:
    content = {"model": model(), "ema": {"decay": torch.ones(1)}, "optimizer": {"state": {0: {}}}}
    assert find_tensors(content).place == "model"


def test_the_choice_is_told_in_a_line() -> None:
    found = find_tensors({"ema": {"module": model(prefix="module.")}, "model": model()})
    assert str(found) == "weights from 'ema.module', prefix 'module.' taken off; 'model' left"
    assert str(find_tensors(model())) == "weights"


def test_names_without_a_part_and_keys_that_are_no_names_are_no_hindrance() -> None:
    found = find_tensors(model(prefix="module.") | {"head": torch.ones(1), 7: torch.ones(1)})
    assert tuple(found.tensors) == NAMES
    assert found.left == ("head",)
    assert tuple(found.named) == tuple(model(prefix="module."))


def test_names_of_a_model_are_not_taken_for_wrappers() -> None:
    assert find_tensors({"model": model()}) == (model(), "model", "", ())
    assert not find_tensors({"epoch": 3}).tensors
    assert not find_tensors([torch.ones(1)]).tensors


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": each for name, each in tensors.items()}
