"""What is no setting is refused with what was meant."""

from __future__ import annotations

import pytest

from detbox.commands.grammar import check_grammar, flags_first, with_multirun
from detbox.errors import SettingError


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--data folder", "give data=folder"),
        ("--batch-size=4", "give batch_size=4"),
        ("--amp model=dino", "give amp=VALUE"),
        ("=3", "give KEY=3"),
        ("model=", "give one of conditional_detr, "),
        ("-m seed=0,1 --cfg job", "leave -m out"),
        ("--shell-completion", "give install=bash"),
        ("threshold=0,4", "a decimal has a point"),
    ],
)
def test_what_is_no_setting_is_told_how_it_is_typed(line: str, told: str) -> None:
    with pytest.raises(SettingError, match=told):
        check_grammar(line.split())


def test_an_empty_argument_is_named() -> None:
    with pytest.raises(SettingError, match="an argument is empty"):
        check_grammar(["model=dino", ""])


@pytest.mark.parametrize(
    "argument",
    [
        *("--multirun", "--cfg=job", "--mult", "-m", "ckpt=", "~trainer.devices", "+a=1"),
        *("data.augment=[flip,resize]", "data={a:1,b:2}", "source='a,b'", "model=dino"),
    ],
)
def test_what_hydra_takes_is_left_to_it(argument: str) -> None:
    check_grammar([argument])
    check_grammar(["-m", "seed=0,1"])
    check_grammar([])


def test_flags_may_stand_anywhere() -> None:
    typed = ["model=dino", "-m", "seed=0,1", "--cfg", "job", "~lr", "a b=c"]
    assert flags_first(typed) == ["-m", "--cfg", "job", "model=dino", "seed=0,1", "~lr", "a b=c"]
    completing = ["model=dino", "-sc", "query=bash"]
    assert flags_first(completing) == completing


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("hydra/launcher=joblib seed=0,1", "-m hydra/launcher=joblib seed=0,1"),
        ("hydra/sweeper=optuna", "-m search=optuna"),
        ("--multirun search=optuna", "--multirun search=optuna"),
        ("search=optuna --cfg job", "search=optuna --cfg job"),
        ("model=dino seed=1", "model=dino seed=1"),
    ],
)
def test_what_only_sweeps_have_a_use_for_means_one(line: str, meant: str) -> None:
    assert with_multirun("train", line.split()) == meant.split()
