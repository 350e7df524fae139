"""Builders of the callbacks that judge a validation and show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detbox.callbacks import RunContext, Stage, register_callback
from detbox.ranges import Count, Share, Whole

if TYPE_CHECKING:
    from lightning.pytorch import Callback

    from detbox.evaluation.pictures import ContactSheet
    from detbox.evaluation.stability import MatchingStability


@register_callback("evaluation", Stage.EVALUATION)
def evaluation(
    context: RunContext, *, nms: bool = True, report: bool = True, worst: Whole = 12
) -> list[Callback]:
    """COCO figures after each validation, and `detections.json` at the end.

    Args:
        context: other callbacks may have named there what is to be judged beside the module.
        nms: also `AP50_nms`, which a suppression of duplicates would give; a tenth of the time.
        report: at the end also curves, a confusion matrix and the worst pictures.
        worst: how many of those.
    """
    from detbox.evaluation.beside import BesideEvaluation
    from detbox.evaluation.callback import CocoEvaluation
    from detbox.evaluation.coco import CocoEvaluator
    from detbox.evaluation.report import MistakeReport

    def evaluator() -> CocoEvaluator:
        return CocoEvaluator(context.truth, context.label_space, nms=nms)

    first = CocoEvaluation(evaluator(), context.folder, context.figures)
    others = context.beside.items()
    own = first.evaluator, context.folder, context.figures
    last = [MistakeReport(*own, worst)] if report else []
    return [first, *last, *(BesideEvaluation(evaluator(), name, judged) for name, judged in others)]


@register_callback("matching", Stage.EVALUATION)
def matching(context: RunContext, *, count: Count = 64) -> list[MatchingStability]:
    """How many targets of the same validation pictures change the query that they are matched to.

    Args:
        context: of a training run; an evaluation has nothing to compare with.
        count: of pictures, evenly from the validation split.
    """
    from detbox.evaluation.stability import MatchingStability, spread

    return [MatchingStability(spread(context.truth, count))] if context.training else []


@register_callback("pictures", Stage.DISPLAY)
def pictures(
    context: RunContext, *, count: Whole = 12, threshold: Share = 0.3
) -> list[ContactSheet]:
    """`pictures.jpg`; none on other classes than the detector's, where the truth has no name."""
    from detbox.evaluation.fonts import legible
    from detbox.evaluation.pictures import ContactSheet

    if context.truth.label_space != context.label_space:
        return []
    return [ContactSheet(context.folder, legible(context.label_space), count, threshold)]
