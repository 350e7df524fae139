"""Watch a forward pass from outside: hooks on our modules, and chosen draws put in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from detbox.models.detector import Detector
from detbox.models.dino import ContrastiveDenoiser, NoiseDraws
from detbox.models.dn_detr import Denoiser, UniformDraws
from detbox.structures import Queries, Targets


class Call:
    """One call of a module."""

    def __init__(self, inputs: tuple[Any, ...], output: Any) -> None:
        self.inputs, self.output = inputs, output


class Observation(dict[str, list[Call]]):
    """All calls of the watched modules, by the module's name in the detector."""

    def outputs(self, name: str) -> list[Any]:
        """What a module returned, call by call."""
        return [call.output for call in self[name]]


@contextmanager
def watched(detector: Detector) -> Iterator[Observation]:
    """Record every call of every module of the detector outside its backbone."""
    seen = Observation()
    with ExitStack() as stack:
        for name, module in detector.named_modules():
            if not name.startswith("backbone."):
                handle = module.register_forward_hook(_recorder(seen, name))
                stack.callback(handle.remove)
        yield seen


def _recorder(seen: Observation, name: str) -> Any:
    def record(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        seen.setdefault(name, []).append(Call(inputs, output))

    return record


@contextmanager
def chosen_tokens(detector: Detector, index: Tensor | None) -> Iterator[list[Tensor]]:
    """Collect the indices that the query selection finds; go on with `index` where given."""
    proposals = getattr(detector.query_source, "proposals", None)
    if proposals is None:
        yield []
        return
    select, found = proposals.select, []

    def selected(scores: Tensor, count: int) -> Tensor:
        found.append(select(scores, count))
        return found[0] if index is None else index

    with patch.object(proposals, "select", selected):
        yield found


@contextmanager
def given_draws(
    denoiser: Callable[[Queries, Targets], Queries] | None, draws: Mapping[str, Tensor]
) -> Iterator[None]:
    """Let the denoiser draw what was drawn in the recording, where anything was."""
    fixed: NoiseDraws | UniformDraws
    if "label_flip_uniform" in draws:
        assert isinstance(denoiser, ContrastiveDenoiser)
        fixed = noise_draws(draws, denoiser.label_noise)
    elif "0_rand" in draws:
        assert isinstance(denoiser, Denoiser)
        fixed = uniform_draws(draws, denoiser.label_noise)
    else:
        yield
        return

    def draw(count: int, like: Tensor) -> NoiseDraws | UniformDraws:
        assert count == len(fixed.flip), f"{len(fixed.flip)} draws recorded, {count} asked for"
        return fixed

    with patch.object(denoiser, "draw", draw):
        yield


def noise_draws(draws: Mapping[str, Tensor], label_noise: float) -> NoiseDraws:
    """Recorded draws of DINO as ours."""
    flip = draws["label_flip_uniform"]
    replacement = _replacement(flip < label_noise / 2, draws["label_replacement"])
    return NoiseDraws(flip, replacement, draws["box_sign_bits"], draws["box_magnitude_uniform"])


def uniform_draws(draws: Mapping[str, Tensor], label_noise: float) -> UniformDraws:
    """Recorded draws of DN-DETR as ours."""
    flip = draws["0_rand"]
    replacement = _replacement(flip < label_noise, draws["1_randint"])
    return UniformDraws(flip, replacement, draws["2_rand"])


def _replacement(flipped: Tensor, drawn: Tensor) -> Tensor:
    """Recordings hold one replacement per flipped label, ours one per label."""
    replacement = torch.zeros(len(flipped), dtype=torch.int64)
    replacement[flipped] = drawn
    return replacement
