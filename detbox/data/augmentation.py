"""The steps of `data.augment` in order, as a pure function of (seed, epoch, index)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import torch

from detbox.data.images import LeastSize
from detbox.data.transforms import View, fitted_size, view
from detbox.errors import SettingError
from detbox.registry import AUGMENTATIONS

AUGMENT = 1
"""random stream of the pictures, beside those of order and replacement"""
FIRST = ("flip", "crop", "resize", "jitter")
"""steps that draw from one stream after the other, so that their pictures stay what they were"""
SIDES = "short_sides"
"""setting of the steps that resize"""

RandomKey = tuple[int, int, int]
Another = Callable[[np.random.Generator], View]
"""gives a picture of the split, as large as its file"""


class _Step(NamedTuple):
    name: str
    apply: Callable[..., View]
    looks_around: bool
    """takes `Another` as well"""
    stream: tuple[int, ...]
    """equal: the next draws of the same generator"""


class Augmentation:
    """Steps, each with a random stream of its own: a new one leaves the draws of the others alone.

    A step is a function of a view and a generator, and of `Another` if it takes a third argument.

    Args:
        steps: names, or mappings with a `name` and the step's settings, in order.
        known: settings by step where the list has none.

    Raises:
        KeyError: a step or a setting that nobody has registered.
        ValueError: a setting of another type, or one that the step refuses.
    """

    def __init__(
        self, steps: Sequence[Any], known: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        self._steps = list(_steps(steps, known or {}))
        self.least = _least(self._steps)
        """below which size of a picture the steps would see less; None: that is not known"""
        grey = torch.full((3, 8, 8), 128, dtype=torch.uint8)
        # Steps refuse settings themselves, so that is tried before a training begins.
        self(view(grey, torch.zeros(1, dtype=torch.int64), torch.full((1, 4), 0.5)), (0, 0, 0))

    def __call__(self, view: View, key: RandomKey, another: Another | None = None) -> View:
        """The picture of (seed, epoch, index), of itself and others; None: as if it were alone."""
        alone = view
        others: Another = another or (lambda _: alone)
        streams: dict[tuple[int, ...], np.random.Generator] = {}
        for step in self._steps:
            if step.stream not in streams:
                streams[step.stream] = np.random.default_rng((*key, AUGMENT, *step.stream))
            more = (others,) if step.looks_around else ()
            view = step.apply(view, streams[step.stream], *more)
        return view


def _least(steps: Sequence[_Step]) -> LeastSize | None:
    """Known of the steps of detbox, if `resize` bounds what the others leave."""
    if not {"resize"} <= {step.name for step in steps} <= set(FIRST):
        return None
    parameters = [inspect.signature(step.apply).parameters for step in steps]
    sides = [side for own in parameters if SIDES in own for side in own[SIDES].default]
    return partial(fitted_size, short=max(sides)) if sides else None


def _steps(steps: Sequence[Any], known: Mapping[str, Mapping[str, Any]]) -> Iterator[_Step]:
    names: list[str] = []
    for given in steps:
        settings = {"name": given} if isinstance(given, str) else given
        if not isinstance(settings, Mapping) or "name" not in settings:
            raise SettingError(
                f"expected names of steps, or a name with settings, in data.augment, got {given!r};"
                " try data.augment=[flip,{name:crop,share:0.5},resize]"
            )
        name = str(settings["name"])
        apply = AUGMENTATIONS.bind_typed({**known.get(name, {}), **settings})
        own = () if name in FIRST else (crc32(name.encode()), names.count(name))
        names.append(name)
        yield _Step(name, apply, _looks_around(apply), own)


def _looks_around(step: Callable[..., View]) -> bool:
    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return sum(each.kind is positional for each in inspect.signature(step).parameters.values()) > 2
