"""Callbacks of a run: what each may need, and the one order in which they stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from detbox.annotations import Split
from detbox.figures import Figures
from detbox.registry import Builder, Registry
from detbox.structures import Batch, Detections, LabelSpace

if TYPE_CHECKING:
    from lightning.pytorch import Callback
    from lightning.pytorch.loggers import Logger

CALLBACKS = Registry("callback", "callbacks.{name}.")


class Stage(IntEnum):
    """When a callback has its turn; those of one stage do not rely on each other."""

    SEED = 0
    """before anything of a step draws random numbers"""
    STEP = 1
    """measures a training step"""
    EVALUATION = 2
    """writes figures of a validation, which later stages read"""
    DISPLAY = 3
    """shows or sends what is known"""
    TIMING = 4
    """closes a step's clock, so that the stages before count as part of the step"""
    STOPPING = 5
    """ends a run by its figures"""
    SAVING = 6
    """writes the state that all others left; Lightning puts its checkpoints last as well"""


class Judged(Protocol):
    """A module whose detections a validation can judge."""

    def detect(self, batch: Batch) -> list[Detections]:
        """Of each image of a batch, in pixels of the original images."""
        ...


@dataclass(frozen=True)
class RunContext:
    """What a callback's builder gets."""

    folder: Path
    """of the run"""
    seed: int
    training: bool
    """False in an evaluation alone"""
    truth: Split
    """the validation split"""
    label_space: LabelSpace
    """classes of the detector"""
    loggers: Sequence[Logger] = ()
    figures: Figures = field(default_factory=Figures)
    before: Mapping[str, int] = field(default_factory=dict)
    """results that lay in the folder before, and when they were written"""
    beside: dict[str, Callable[[], Judged | None]] = field(default_factory=dict)
    """what validations judge as well, by the name before its figures; None: the module itself"""


_STAGES: dict[str, Stage] = {}


def register_callback(name: str, stage: Stage) -> Callable[[Builder], Builder]:
    """Store a builder `(context, *, settings) -> callbacks` and say when they have their turn.

    A builder returns a list, empty where the run has no use for it.

    Raises:
        KeyError: the name is taken.
    """

    def store(builder: Builder) -> Builder:
        CALLBACKS.register(name)(builder)
        _STAGES[name] = stage
        return builder

    return store


def assemble(chosen: Mapping[str, Any], context: RunContext) -> list[Callback]:
    """All callbacks of a run by stage, then by name, however they were typed.

    Args:
        chosen: key -> `name` and settings of a builder; None: switched off.
        context: of this run.

    Raises:
        KeyError: unknown callback or setting.
    """
    on = {str(key): settings for key, settings in chosen.items() if settings is not None}
    bound = {key: CALLBACKS.bind(settings) for key, settings in on.items()}
    place = {key: (_STAGES[on[key]["name"]], on[key]["name"], key) for key in on}
    return [each for key in sorted(bound, key=place.__getitem__) for each in bound[key](context)]
