"""Length, sizes and queries of a training on some dozens to some thousands of pictures."""

from __future__ import annotations

import math
from collections.abc import Collection

from omegaconf import DictConfig

from detbox.messages import counted
from detbox.planning.facts import Choice, Facts, Start
from detbox.ranges import Count, Positive
from detbox.registry import PLANS


@PLANS.register("finetune")
def finetune(
    facts: Facts,
    cfg: DictConfig,
    typed: Collection[str],
    *,
    steps: Count = 1400,
    least_epochs: Count = 12,
    validations: Count = 6,
    object_pixels: Positive = 12.0,
    short_sides: tuple[Count, ...] = (192, 224, 256, 320, 384, 448, 512, 640, 800),
) -> list[Choice]:
    """Choose how long to train, how often to validate, the sizes of pictures, and the queries.

    Args:
        facts: of the training split.
        cfg: as composed.
        typed: keys whose values stay, and which the others follow.
        steps: of the optimizer, at least.
        least_epochs: of many pictures, which make more steps.
        validations: in the course of the training.
        object_pixels: side that a small object shall have in the resized picture, in pixels; more
            pixels than the file has show nothing more.
        short_sides: to choose from.
    """
    step = cfg.data.total_batch or cfg.data.batch_size * cfg.trainer.accumulate_grad_batches
    per_epoch = max(1, facts.epoch // step)
    epochs = max(least_epochs, math.ceil(steps / per_epoch))
    if "trainer.max_epochs" in typed and cfg.trainer.max_epochs > 0:
        epochs = cfg.trainer.max_epochs
    last = cfg.trainer.max_steps if cfg.trainer.max_steps > 0 else epochs * per_epoch
    fullest, held = f"{facts.most} boxes in the fullest image", "as the weights to start from have"
    return [
        Choice("trainer.max_epochs", epochs, f"{epochs * per_epoch} steps of {step} pictures"),
        _validated(min(epochs, math.ceil(last / per_epoch)), validations),
        *(
            _sizes(cfg, typed, _short_side(facts, object_pixels, short_sides), facts.small)
            if facts.start is None or {"data.eval_size", "data.train_sizes"} & set(typed)
            else _sizes_of(facts.start)
        ),
        Choice("model.num_queries", _queries(facts, cfg), held if facts.start else fullest),
        Choice("model.num_denoising", max(50, facts.most), fullest),
    ]


def _validated(epochs: int, validations: int) -> Choice:
    every = max(1, epochs // validations)
    reason = f"{counted(math.ceil(epochs / every), 'validation')} in all"
    return Choice("trainer.check_val_every_n_epoch", every, reason)


def _sizes(cfg: DictConfig, typed: Collection[str], short: int, small: float) -> list[Choice]:
    """Of evaluation, and of training alike; one that was typed decides the other."""
    if "data.eval_size" in typed:
        short = cfg.data.eval_size
    elif "data.train_sizes" in typed and cfg.data.train_sizes:
        short = max(cfg.data.train_sizes)
    sides = cfg.data.train_sizes if "data.train_sizes" in typed else [short]
    return [
        Choice("data.eval_size", short, f"a small object is then {small * short:.0f} pixels wide"),
        Choice("data.train_sizes", [short], "as evaluated"),
        Choice("data.max_size", 5 * max(short, *sides) // 3, "for pictures up to 5:3"),
    ]


def _sizes_of(start: Start) -> list[Choice]:
    """Those that weights to start from have learnt on."""
    values = {
        "data.eval_size": start.eval_size,
        "data.train_sizes": list(start.train_sizes),
        "data.max_size": start.max_size,
    }
    return [Choice(key, value, f"as {start.name} learnt") for key, value in values.items()]


def _short_side(facts: Facts, object_pixels: float, short_sides: tuple[int, ...]) -> int:
    """The least that shows small objects well enough, or the first that shows all of the files."""
    wanted = min(object_pixels / max(facts.small, 1e-6), facts.short)
    ordered = sorted(short_sides)
    return next((side for side in ordered if side >= wanted), ordered[-1])


def _queries(facts: Facts, cfg: DictConfig) -> int:
    """Twice the objects of the fullest image; those that weights to start from have."""
    if facts.start is not None:
        return facts.start.num_queries or cfg.model.get("num_queries", 0)
    return max(100, min(900, 50 * math.ceil(2 * facts.most / 50)))
