"""Builders of the callbacks that watch over a training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detbox.callbacks import RunContext, Stage, register_callback
from detbox.ranges import Count, Whole

if TYPE_CHECKING:
    from detbox.guards.black_box import BlackBox
    from detbox.guards.warnings import Warnings


@register_callback("black_box", Stage.STEP)
def black_box(context: RunContext, *, skip: Whole = 0) -> list[BlackBox]:
    """No step on a loss or gradient that is not finite; the first such is kept in `black_box.pt`.

    Args:
        context: of a training run.
        skip: steps that the whole run may leave out; 0: it stops at the first.
    """
    from detbox.guards.black_box import BlackBox

    return [BlackBox(context.folder, skip)] if context.training else []


@register_callback("warnings", Stage.STEP)
def warnings(context: RunContext, *, after: Count = 500) -> list[Warnings]:
    """What looks wrong in the loss, the scores, the labels or the rate is said once.

    Args:
        context: of a training run.
        after: steps at the full learning rate after which scores and class term are judged.
    """
    from detbox.guards.warnings import Warnings

    return [Warnings(after)] if context.training else []
