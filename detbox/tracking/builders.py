"""Builders of the callbacks that measure a run and hand its figures to the loggers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detbox.callbacks import RunContext, Stage, register_callback
from detbox.ranges import Share, Whole

if TYPE_CHECKING:
    from lightning.pytorch import Callback
    from lightning.pytorch.callbacks import LearningRateMonitor

    from detbox.tracking.curves import CurvesFile
    from detbox.tracking.gradients import GradientNorm
    from detbox.tracking.load import SystemLoad
    from detbox.tracking.terms import TermsLogger
    from detbox.tracking.timing import StepTimer


@register_callback("terms", Stage.STEP)
def terms(context: RunContext) -> list[TermsLogger]:
    """The loss and all its terms."""
    from detbox.tracking.terms import TermsLogger

    return [TermsLogger()]


@register_callback("gradient_norm", Stage.STEP)
def gradient_norm(context: RunContext) -> list[GradientNorm]:
    """The gradient's size before clipping."""
    from detbox.tracking.gradients import GradientNorm

    return [GradientNorm()]


@register_callback("rates", Stage.STEP)
def rates(context: RunContext) -> list[LearningRateMonitor]:
    """The learning rate of each group of parameters."""
    from lightning.pytorch.callbacks import LearningRateMonitor

    return [LearningRateMonitor("step")] if context.loggers else []


@register_callback("system_load", Stage.STEP)
def system_load(context: RunContext) -> list[SystemLoad]:
    """How busy the cores are, and what memory is taken and left."""
    from detbox.tracking.load import SystemLoad

    return [SystemLoad()] if context.loggers else []


@register_callback("dashboard", Stage.DISPLAY)
def dashboard(
    context: RunContext, *, num_images: Whole = 8, threshold: Share = 0.3
) -> list[Callback]:
    """Panels and class figures, where there is a W&B run to show them."""
    from lightning.pytorch.loggers import WandbLogger

    if not any(isinstance(logger, WandbLogger) for logger in context.loggers):
        return []
    from detbox.tracking.dashboard import WandbDashboard
    from detbox.tracking.wandb_results import WandbResults

    shown = WandbDashboard(context.figures, num_images, threshold)
    return [shown, WandbResults(context.figures)]


@register_callback("curves", Stage.DISPLAY)
def curves(context: RunContext) -> list[CurvesFile]:
    """`curves.png`: loss, AP, learning rate and gradient norm."""
    from detbox.tracking.curves import CurvesFile

    return [CurvesFile(context.folder)] if context.loggers else []


@register_callback("timing", Stage.TIMING)
def timing(context: RunContext) -> list[StepTimer]:
    """Where a training step's time goes."""
    from detbox.tracking.timing import StepTimer

    return [StepTimer()]
