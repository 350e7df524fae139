"""What a run that goes on is told otherwise than before: named, and harmless or refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from detbox.errors import CheckpointError
from detbox.messages import counted, printable, some
from detbox.runfile import EACH_TIME, RunCheckpoint, flat
from detbox.structures import LabelSpace

FREE = (
    *(*EACH_TIME, "data.division"),
    *("backbone.weights", "backbone.pretrained", "backbone.checkpointing"),
)
"""settings that belong to a start, or to weights that a checkpoint has anyway"""
NEW_RUN = "or start a new run from these weights, with init=FILE in another folder"
FRESH_RUN = "or start a new run in another folder, not from weights of this one"


class Change(NamedTuple):
    """A setting that two configurations have, with two values."""

    key: str
    then: Any
    now: Any

    def __str__(self) -> str:
        """`key then -> now`."""
        return printable(f"{self.key} {self.then} -> {self.now}")


class Rule(NamedTuple):
    """Settings that the state in a checkpoint depends on."""

    keys: tuple[str, ...]
    """beginnings"""
    reason: str
    within_epoch: bool = False
    """refused in the middle of an epoch only"""
    leaks: bool = False
    """whether weights of the run know of the state too"""


RULES = (
    Rule(("backbone.", "neck.", "model."), "the weights are those of the former detector"),
    Rule(("optimizer.", "freeze", "adapter"), "the optimizer goes on with what it has"),
    Rule(
        ("data.val_fraction", "data.fold", "data.split_seed", "data.keep_alike", "data.pool"),
        "pictures that it has learnt from would validate it",
        leaks=True,
    ),
    Rule(("callbacks.ema",), "its average is the model, which nothing would move any more"),
    Rule(
        ("seed", "data.repeat_threshold"),
        "the order of this epoch's pictures was drawn from it",
        True,
    ),
    Rule(
        ("trainer.accumulate_grad_batches", "trainer.limit_train_batches"),
        "the steps of this epoch were counted with it",
        True,
    ),
)
"""All else is harmless: it holds from here on, and contradicts nothing that is stored."""


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """What differs, by key, and parts that were switched on or off.

    A setting that one side alone has is younger or older than the file, not another choice.
    """
    ours, theirs = dict(flat(then)), dict(flat(now))
    differ = [
        Change(key, ours[key], theirs[key])
        for key in ours
        if key in theirs and ours[key] != theirs[key] and key not in FREE
    ]
    before, after = (_parts(each) for each in (then, now))
    off = [Change(key, "on", "off") for key in sorted(before - after)]
    on = [Change(key, "off", "on") for key in sorted(after - before)]
    return sorted(differ) + off + on


def check_resumable(
    checkpoint: RunCheckpoint, config: Mapping[str, Any], label_space: LabelSpace
) -> list[Change]:
    """Refuse to go on where settings or classes contradict what is stored; gives the others.

    Raises:
        CheckpointError: names all that contradict, with both values and the reasons.
    """
    if checkpoint.trainer is None:
        raise CheckpointError(
            "the checkpoint holds weights alone, so there is no run to resume; start from them "
            "with init=FILE in place of ckpt=FILE"
        )
    found = changes(checkpoint.config, config)
    if wrong := dict(_refused(found, within_epoch=checkpoint.epoch_batches is not None)):
        way = FRESH_RUN if any(rule.leaks for rule in wrong) else NEW_RUN
        raise CheckpointError(
            f"the run cannot go on with {'; '.join(wrong.values())}; leave that as it was, {way}"
        )
    _check_epochs(checkpoint, config)
    if checkpoint.label_space != label_space:
        raise CheckpointError(
            f"the checkpoint knows the classes {_classes(checkpoint.label_space)}, "
            f"the data {_classes(label_space)}; resume on the same data"
        )
    return found


def check_batches(checkpoint: RunCheckpoint, batches: int, found: Sequence[Change]) -> None:
    """Refuse to go on within an epoch that would have another length.

    Args:
        checkpoint: of the run.
        batches: of one process in an epoch, now.
        found: what is told otherwise.

    Raises:
        CheckpointError: says both lengths and what changed.
    """
    before = checkpoint.epoch_batches
    if before in (None, batches):
        return
    causes = [each for each in found if each.key.startswith(("data.", "trainer."))]
    told = ", ".join(map(str, causes)) or "the data changed"
    raise CheckpointError(
        f"the run stands within an epoch of {counted(before or 0, 'batch')}, which now has "
        f"{batches} ({told}); leave that as it was until the epoch's end, {NEW_RUN}"
    )


def _refused(found: Sequence[Change], within_epoch: bool) -> Iterator[tuple[Rule, str]]:
    for rule in RULES:
        wrong = [each for each in found if each.key.startswith(rule.keys) and _takes_away(each)]
        if wrong and (within_epoch or not rule.within_epoch):
            yield rule, f"{', '.join(map(str, wrong))}: {rule.reason}"


def _takes_away(change: Change) -> bool:
    """Whether a change contradicts; of a callback, only its end does."""
    return not change.key.startswith("callbacks.") or change.now == "off"


def _check_epochs(checkpoint: RunCheckpoint, config: Mapping[str, Any]) -> None:
    limit, done = int(config.get("trainer", {}).get("max_epochs", -1)), checkpoint.epochs
    if 0 <= limit < done:
        raise CheckpointError(
            f"trainer.max_epochs={limit} lies behind the {counted(done, 'epoch')} that are done; "
            f"give {done + 1} or more"
        )


def _parts(config: Mapping[str, Any]) -> set[str]:
    """Callbacks, and an adapter, that a configuration has and another may not."""
    every = config.get("callbacks", {}).values()
    names = {f"callbacks.{each['name']}" for each in every if isinstance(each, Mapping)}
    return names | ({"adapter"} if config.get("adapter") else set())


def _classes(space: LabelSpace) -> str:
    named = [f"{i} {name}" for i, name in zip(space.category_ids, space.names, strict=True)]
    return some(named, shown=8)
