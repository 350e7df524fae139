"""Rules that find trouble in the last steps of a training.

A rule is a function of a `Window` that gives what to say, or None: what was expected, what came,
and the next step. `@rule` puts it into the table that `callbacks.warnings` asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import numpy as np

from detbox.annotations import Split
from detbox.guards.records import LOSS, Window, middle
from detbox.messages import counted

CLASS = "class"
"""name of the loss that is about classes"""
EXPLODED = 10.0
"""times the median"""
LOW_SCORE, SURE_SCORE = 0.05, 0.3
FLAT = 0.02
"""least share by which the class term should have fallen"""
ENOUGH = 50
"""pictures, among which a class should occur"""
SHIFTED, RIGHT = 0.6, 0.1
"""least share of objects taken for the next class, and largest share of those taken rightly"""

Check = Callable[[Window], "str | None"]


class Rule(NamedTuple):
    """What the table holds."""

    check: Check
    every: int
    """batches from one question to the next"""


RULES: dict[str, Rule] = {}


def rule(every: int = 10) -> Callable[[Check], Check]:
    """Add a function to the table under its name."""

    def store(check: Check) -> Check:
        RULES[check.__name__] = Rule(check, every)
        return check

    return store


@rule(every=1)
def loss_explodes(window: Window) -> str | None:
    """A term is many times what it was.

    Sums are divided by the number of objects, which alone may be ten times smaller than usual, so
    the undivided sum must have risen as much.
    """
    last, before = window.last, list(window.records)[-101:-1]
    usual = {name: middle(name, before) for name in last.terms if before}
    sums = {name: median(each.summed(name) for each in before) for name in usual}
    rises = {
        name: min(last.terms[name] / usual[name], last.summed(name) / sums[name])
        for name in usual
        if usual[name] > 0
    }
    name = max(rises, key=rises.__getitem__, default=LOSS)
    if rises.get(name, 0) < EXPLODED:
        return None
    what = "the loss" if name == LOSS else f"the {name} term"
    return (
        f"step {last.step}: the loss explodes: expected {what} near {usual[name]:.3g}, its median "
        f"over the last {counted(len(before), 'batch')}, got {last.terms[name]:.3g}; try a lower "
        f"optimizer.lr (now {last.rate:.3g}), a larger schedule.warmup_steps, or a smaller "
        "trainer.gradient_clip_val"
    )


@rule()
def no_objects(window: Window) -> str | None:
    """Nothing to find in a hundred batches."""
    past = window.past(100)
    if not past or any(each.objects for each in past):
        return None
    return (
        f"step {window.last.step}: expected objects to learn from, got none in the last 100 "
        "batches; look at the annotations, and try data.crop=false or other steps in data.augment, "
        "if they cut all objects away"
    )


@rule()
def term_is_zero(window: Window) -> str | None:
    """A term of the loss that never was anything, though there were objects."""
    past = [each for each in window.records if each.objects]
    if len(past) < 20:
        return None
    zero = [n for n in window.last.terms if n != LOSS and not any(r.terms.get(n) for r in past)]
    if not zero:
        return None
    return (
        f"step {window.last.step}: expected a {zero[0]} term above 0, got 0 in all of "
        f"{counted(len(past), 'batch')} with objects, so nothing is learnt from it; look at "
        f"criterion.weights.{zero[0]}, or at the matcher if all terms of boxes are 0"
    )


@rule()
def rate_is_zero(window: Window) -> str | None:
    """No step changes anything."""
    past = window.past(10)
    if not past or any(each.rate for each in past):
        return None
    return (
        f"step {window.last.step}: expected a learning rate above 0, got 0 for the last 10 "
        "batches, so nothing is learnt; look at optimizer.lr, optimizer.lr_factors and the schedule"
    )


@rule()
def scores_stay_low(window: Window) -> str | None:
    """No score leaves the prior of the class head."""
    highest = _highest_score(window)
    if highest is None or highest >= LOW_SCORE:
        return None
    return (
        f"step {window.last.step}: expected class scores above {LOW_SCORE} by now, got none above "
        f"{highest:.2g} in the last batches; try a higher optimizer.lr (now "
        f"{window.last.rate:.3g}), pretrained weights of the backbone, or overfit=8 to see whether "
        "anything can be learnt"
    )


@rule()
def class_term_is_flat(window: Window) -> str | None:
    """The class term is where it began, and nothing is found with a sure score.

    A detector that knows its classes, as one that goes on with trained weights, has sure scores.
    """
    highest, part = _highest_score(window), max(1, window.after // 5)
    if highest is None or highest >= SURE_SCORE or CLASS not in window.last.terms:
        return None
    past = window.past(window.after)
    first, last = (middle(CLASS, each) for each in (past[:part], past[-part:]))
    if not first or abs(last - first) >= FLAT * first:
        return None
    return (
        f"step {window.last.step}: expected the class term to fall, got {first:.3g} before and "
        f"{last:.3g} after {len(past)} batches, and no score above {highest:.2g}; look in "
        "pictures.jpg whether the classes of the truth are right, and try a higher optimizer.lr or "
        "criterion.weights.class"
    )


@rule()
def labels_are_shifted(window: Window) -> str | None:
    """Objects whose boxes are found are taken for their neighbour in the list of classes."""
    pairs = [pair for each in window.records for pair in each.pairs]
    if len(pairs) < 50 or sum(label == guess for label, guess in pairs) > RIGHT * len(pairs):
        return None
    for shift in (1, -1):
        moved = Counter(label for label, guess in pairs if guess - label == shift)
        if len(moved) >= 3 and moved.total() >= SHIFTED * len(pairs):
            label = moved.most_common(1)[0][0]
            own, other = window.names[label], window.names[label + shift]
            return (
                f"step {window.last.step}: labels look shifted by one: expected objects to be "
                f"taken for their class, got {moved.total()} of {len(pairs)} taken for the "
                f"{'next' if shift > 0 else 'previous'} one (such as {own!r} for {other!r}); "
                "compare the names and ids of categories with those that the weights were "
                "trained on"
            )
    return None


def class_without_boxes(split: Split) -> str | None:
    """The first or the last class alone has no box: of a group, or of labels counted wrongly.

    Not a rule of steps: the annotations are asked before the first.
    """
    space = split.label_space
    boxes = np.bincount(split.labels[split.learnt], minlength=len(space))
    (empty,) = np.nonzero(boxes == 0)
    few = len(np.unique(split.image_ids)) < ENOUGH
    if few or len(space) < 3 or len(empty) != 1 or empty[0] not in (0, len(space) - 1):
        return None
    name, number = space.names[empty[0]], space.category_ids[empty[0]]
    return (
        f"{split.source.name}: labels may be shifted by one: expected boxes of every class, got "
        f"none of the {'last' if empty[0] else 'first'} of {len(space)}, {name!r} (id {number}), "
        "alone; if it names a group or the background, take it out of categories; if pictures.jpg "
        "shows wrong names, mend the ids"
    )


def _highest_score(window: Window) -> float | None:
    """Of the last batches, once something should have been learnt; None: it is too early."""
    past = window.past(min(100, window.after))
    tops = [each.top for each in past if each.top is not None]
    early = window.last.learnt < window.after or len(window.records) < window.after
    return None if early or not tops else max(tops)
