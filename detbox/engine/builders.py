"""Builders of the callbacks that a training run stands on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detbox.callbacks import RunContext, Stage, register_callback
from detbox.errors import SettingError
from detbox.ranges import Count, Positive, Share, ShareBelowOne

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Checkpoint

    from detbox.engine.early_stopping import StopWithoutProgress
    from detbox.engine.ema import ExponentialAverage
    from detbox.engine.seeding import SeedEveryStep


@register_callback("seeding", Stage.SEED)
def seeding(context: RunContext) -> list[SeedEveryStep]:
    """The same draws whether a run was resumed or not."""
    from detbox.engine.seeding import SeedEveryStep

    return [SeedEveryStep(context.seed)]


@register_callback("checkpoints", Stage.SAVING)
def checkpoints(
    context: RunContext, *, every_n_steps: Count = 500, every_minutes: Positive = 5.0
) -> list[Checkpoint]:
    """`best.ckpt` by validation AP; `last.ckpt` after every epoch, and on the way.

    A file is replaced only when the new one is complete, so a killed run always leaves one.

    Args:
        context: without an evaluation there is no best one.
        every_n_steps: how many steps a killed run may lose.
        every_minutes: how much time of training it may lose.
    """
    from detbox.engine.best import BestCheckpoint
    from detbox.engine.last import LastCheckpoint

    if not context.training:
        return []
    folder = context.folder / "checkpoints"
    last = LastCheckpoint(folder, every_n_steps, every_minutes)
    if not context.figures.promised:
        return [last]
    return [BestCheckpoint(folder), last]


@register_callback("ema", Stage.STEP)
def ema(
    context: RunContext, *, decay: ShareBelowOne = 0.9997, validate_raw: bool = False
) -> list[ExponentialAverage]:
    """A moving average of the weights, which validations judge and checkpoints hold as the model.

    Args:
        context: of a training run; an evaluation has nothing to average.
        decay: the largest, reached after a warm-up.
        validate_raw: validations also judge the trained weights, as `val_raw/AP` and so on, which
            takes them twice as long.
    """
    from detbox.engine.ema import ExponentialAverage

    if not context.training:
        return []
    average = ExponentialAverage(decay)
    if validate_raw:
        context.beside["val_raw"] = average.trained
    return [average]


@register_callback("early_stopping", Stage.STOPPING)
def early_stopping(
    context: RunContext, *, patience: Count = 10, min_delta: Share = 0.0
) -> list[StopWithoutProgress]:
    """An end of the training where `val/AP` no longer rises.

    Args:
        context: of a training run.
        patience: validations without a rise.
        min_delta: the least rise that counts.

    Raises:
        SettingError: nothing evaluates.
    """
    from detbox.engine.early_stopping import StopWithoutProgress

    if not context.training:
        return []
    if not context.figures.promised:
        raise SettingError(
            "callbacks.early_stopping needs validation AP, and callbacks.evaluation is off; leave "
            "one as it was"
        )
    return [StopWithoutProgress(patience, min_delta)]
