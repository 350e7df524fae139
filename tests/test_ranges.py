"""Numbers that make no sense are refused where they are typed."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

import detbox
import detbox.commands  # fills the table of commands
from detbox import registry
from detbox.build import check_settings
from detbox.callbacks import CALLBACKS
from detbox.commands.table import COMMANDS, bound
from detbox.errors import SettingError
from detbox.ranges import Range, range_in
from detbox.registry import Registry

OWN_CHECKS = {"simple_feature_pyramid.finest", "step.drops", "lightning.devices"}
"""numbers that a builder checks itself, in more than a range"""
NONSENSE = (
    ("optimizer.lr=0", "optimizer.lr must be above 0, got 0"),
    ("optimizer.lr=inf", "optimizer.lr must be above 0, got inf"),
    ("optimizer.betas=[0.9,1]", "optimizer.betas must be from 0 to below 1, got 1"),
    ("optimizer.lr_factors.backbone=-1", r"lr_factors\.backbone must be at least 0, got -1"),
    ("data.batch_size=0", "data.batch_size must be at least 1, got 0"),
    ("data.workers=-1", "data.workers must be at least 0, got -1"),
    ("data.train_sizes=[480,0]", "data.train_sizes must be at least 1, got 0"),
    ("data.flip=7", "data.flip must be from 0 to 1, got 7"),
    ("postprocess.nms_iou=7", "postprocess.nms_iou must be from 0 to 1, got 7"),
    ("trainer.limit_train_batches=0", "limit_train_batches must be above 0, got 0"),
    ("trainer.limit_val_batches=-1", "limit_val_batches must be at least 0, got -1"),
    ("callbacks.progress.every=0", r"callbacks\.progress\.every must be at least 1, got 0"),
    ("model.dropout=1", "model.dropout must be from 0 to below 1, got 1"),
    ("lr_batch=0", "lr_batch must be at least 1, got 0"),
)


def _numbers() -> Iterator[tuple[str, object]]:
    """Every setting of our builders whose type has a number, with that type."""
    kinds = [each for each in vars(registry).values() if isinstance(each, Registry)]
    for each in (*kinds, CALLBACKS, COMMANDS):
        for name in each.names():
            builder = each.builder(name)
            if builder.__module__.startswith("detbox."):
                bare = registry._hints(builder)
                for key, hint in registry._hints(builder, extras=True).items():
                    if "int" in str(bare[key]) or "float" in str(bare[key]):
                        yield f"{name}.{key}", hint


def test_every_number_that_can_be_set_has_a_range() -> None:
    without = {key for key, hint in _numbers() if range_in(hint) is None}
    assert without == OWN_CHECKS


@pytest.mark.parametrize(("typed", "told"), NONSENSE)
def test_nonsense_is_refused_before_a_file_is_opened(typed: str, told: str) -> None:
    with pytest.raises(SettingError, match=told):
        check_settings(detbox.compose(typed))


def test_what_the_recipes_set_is_in_range() -> None:
    check_settings(detbox.compose("trainer.max_epochs=-1", "optimizer.weight_decay=0"))


@pytest.mark.parametrize("threshold", [2, -0.1, math.nan])
def test_a_command_refuses_nonsense_too(threshold: float) -> None:
    cfg = detbox.compose("ckpt=x", f"threshold={threshold}", config_name="predict")
    with pytest.raises(SettingError, match="threshold must be from 0 to 1, got"):
        bound("predict", cfg)


@pytest.mark.parametrize(
    ("within", "taken", "refused", "told"),
    [
        (Range(1), (1, 7), (0, math.inf, math.nan), "at least 1"),
        (Range(0, 1, below_high=True), (0, 0.5), (1, -0.1), "from 0 to below 1"),
        (Range(0, 1, beyond_low=True), (0.1, 1), (0,), "above 0 to 1"),
        (Range(1, beside=-1), (1, -1), (0, -2), "at least 1, or -1"),
        (Range(), (-5, 0), (-math.inf,), "a finite number"),
    ],
)
def test_a_range_says_what_it_takes(
    within: Range, taken: tuple[float, ...], refused: tuple[float, ...], told: str
) -> None:
    assert all(each in within for each in taken)
    assert not any(each in within for each in refused)
    assert str(within) == told
