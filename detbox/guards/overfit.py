"""Whether a detector learns a few pictures by heart, and what kept it from that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import lightning.pytorch as pl
from torch import Tensor

from detbox.figures import CocoMetrics, Figures
from detbox.guards.records import LOSS
from detbox.messages import some
from detbox.structures import StepOutputs

NEEDED = 0.9
"""AP50"""
LEARNS, STUCK = 0.9, 0.8
"""share of its value before to which a loss that still falls has fallen, and one that never fell
has not"""


class Course(NamedTuple):
    """A training that ended, and how it ended."""

    terms: Sequence[Mapping[str, float]]
    """means between validations: `loss`, and the terms of what inference reads"""
    metrics: CocoMetrics
    rate: float
    """the highest learning rate"""
    steps: int


class OverfitGate(pl.Callback):
    """Stop as soon as a validation gives the AP50 that is needed.

    Args:
        figures: of the validations.
    """

    def __init__(self, figures: Figures) -> None:
        self.figures = figures
        self.passed_at: int | None = None
        self._sums: dict[str, Tensor] = {}
        self._batches = 0
        self._terms: list[dict[str, float]] = []
        self._rate = 0.0

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: StepOutputs,  # type: ignore[override]
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Add up the terms, on the device."""
        loss = outputs["loss"].detach() * trainer.accumulate_grad_batches
        final = {term.loss: term.value for term in outputs["terms"] if term.final}
        for name, value in {LOSS: loss, **final}.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._batches += 1
        groups = [group for each in trainer.optimizers for group in each.param_groups]
        self._rate = max(float(group["lr"]) for group in groups)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the means, and stop where it is enough."""
        if self._batches:
            self._terms.append({k: float(v) / self._batches for k, v in self._sums.items()})
            self._sums, self._batches = {}, 0
        metrics = self.figures.last
        if metrics is not None and metrics.AP50 >= NEEDED and self.passed_at is None:
            self.passed_at = trainer.global_step
            trainer.should_stop = True

    def course(self, trainer: pl.Trainer) -> Course | None:
        """Of the training that ended; None: it never came to a validation."""
        if self.figures.last is None or not self._terms:
            return None
        return Course(self._terms, self.figures.last, self._rate, trainer.global_step)


def causes(course: Course) -> Iterator[str]:
    """What is likely wrong with a detector that did not learn, and the next step for each."""
    first, last = course.terms[0], course.terms[-1]
    names = [name for name in last if name != LOSS]
    zero = [name for name in names if not any(each.get(name) for each in course.terms)]
    if zero:
        yield f"nothing is learnt from {some(zero)}, which is 0: look at criterion.weights"
    for name in names if len(course.terms) > 1 else ():
        if name not in zero and last[name] > STUCK * first.get(name, 0.0):
            yield (
                f"the {name} term has not fallen ({first[name]:.3g} to {last[name]:.3g}): try a "
                f"higher optimizer.lr (now {course.rate:.3g})"
            )
    if _still_falls(course.terms):
        steps = 2 * course.steps
        yield (
            f"the loss still falls: give trainer.max_steps={steps} or a higher optimizer.lr (now "
            f"{course.rate:.3g})"
        )
    lost = [each.name for each in course.metrics.classes if each.boxes and not each.AP50]
    if lost:
        yield f"never found: {some(lost)}"
    if 0 <= course.metrics.AP_small < course.metrics.AP / 2:
        yield f"small objects have an AP of {course.metrics.AP_small:.2f}: show larger pictures"


def _still_falls(terms: Sequence[Mapping[str, float]]) -> bool:
    """Whether the last third of the loss lies below the third before; of one figure, perhaps."""
    if len(terms) == 1:
        return True
    third = max(1, len(terms) // 3)
    before, after = (
        sum(each[LOSS] for each in part) for part in (terms[-2 * third : -third], terms[-third:])
    )
    return after < LEARNS * before
