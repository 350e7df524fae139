"""Every model with every matcher and loss that reads its class scores; all others are refused."""

from __future__ import annotations

from copy import deepcopy
from functools import cache, partial
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from parity.feeder import feed
from scenes import CLASSES, random_targets
from torch import Tensor

import detbox
from detbox import registry
from detbox.build import build_module, build_postprocess
from detbox.criterion import Criterion
from detbox.models.detector import Detector
from detbox.registry import CLASS_COSTS, LOSSES, MATCHERS, POSTPROCESSES, Registry, Scores
from detbox.structures import ImageBatch, LabelSpace, Outputs

MODELS = sorted(file.stem for file in (Path(__file__).parents[1] / "conf/model").glob("*.yaml"))
"""every registered name has its YAML, see `test_configs`"""
SMALL = {
    **dict.fromkeys(("num_queries", "num_denoising"), 8),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "denoising_groups"), 2),
    **{"num_heads": 4, "num_points": 2, "feedforward_dim": 32, "dropout": 0.0},
}
BOXES = ("l1", "giou")
TARGETS = random_targets(3, 1)
SIDE = 128


class Step(NamedTuple):
    """A forward pass in training, whose graph serves many losses."""

    cfg: DictConfig
    detector: Detector
    outputs: Outputs


@cache
def step(model: str) -> Step:
    """Run a small model on random maps; dropout would make it a lottery."""
    torch.manual_seed(0)
    cfg = small(model)
    detector = detbox.build_detector(cfg, CLASSES).train()
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    sides = [SIDE // stride for stride in cfg.backbone.strides]
    feed(detector, tuple(torch.randn(2, 3, side, side) for side in sides))
    mask = torch.zeros(2, SIDE, SIDE, dtype=torch.bool)
    mask[1, 96:] = True
    return Step(cfg, detector, detector(ImageBatch(torch.zeros(2, 3, SIDE, SIDE), mask), TARGETS))


@cache
def small(model: str) -> DictConfig:
    """The published configuration with small sizes and a backbone that is fed."""
    cfg = detbox.compose(f"model={model}", "neck.hidden_dim=32")
    for key, value in SMALL.items():
        if key in cfg.model:
            cfg.model[key] = value
    strides = list(cfg.backbone.strides)
    cfg.backbone = OmegaConf.create(
        {"name": "feeder", "channels": [3] * len(strides), "strides": strides}
    )
    return cfg


def matchers(scores: Scores) -> list[dict[str, Any]]:
    """Settings of every registered matcher that reads such scores."""
    costs = [
        {"name": name, "class_cost": cost}
        for name in MATCHERS.names()
        if _has_choice(name)
        for cost in CLASS_COSTS.names()
    ]
    fixed = [{"name": name} for name in MATCHERS.names() if not _has_choice(name)]
    return [each for each in (*costs, *fixed) if MATCHERS.scores(each) == scores]


def _has_choice(matcher: str) -> bool:
    return "class_cost" in signature(MATCHERS.bind({"name": matcher})).parameters


def of(registry: Registry, scores: Scores) -> list[dict[str, Any]]:
    """Every registered loss or post-processing that reads such scores."""
    parts = [{"name": name} for name in registry.names()]
    return [each for each in parts if registry.scores(each) == scores]


def given(model: str) -> Scores:
    """The scores of a published configuration."""
    scores = registry.MODELS.scores({"name": detbox.compose(f"model={model}").model.name})
    assert scores is not None
    return scores


def other(model: str) -> Scores:
    return "sigmoid" if given(model) == "softmax" else "softmax"


FITTING = [
    pytest.param(model, matcher, loss["name"], id=f"{model}-{matcher['name']}-{loss['name']}")
    for model in MODELS
    for matcher in matchers(given(model))
    for loss in of(LOSSES, given(model))
]
PARTS = {
    "matcher": matchers,
    "criterion.losses.class": partial(of, LOSSES),
    "postprocess": partial(of, POSTPROCESSES),
}
NONSENSE = [
    pytest.param(model, key, part, id=f"{model}-{part['name']}")
    for model in MODELS
    for key, parts in PARTS.items()
    for part in parts(other(model))
]


def criterion_of(matcher: dict[str, Any], loss: str) -> Criterion:
    """A classification loss beside the losses on boxes."""
    losses = {name: LOSSES.bind({"name": name}) for name in (loss, *BOXES)}
    return Criterion(MATCHERS.build(matcher), losses, dict.fromkeys(losses, 1.0))


def assert_everything_learns(found: Step, criterion: Criterion) -> None:
    """Every parameter has a finite gradient of the sum of all terms."""
    terms = criterion(found.outputs, TARGETS)
    total: Tensor = torch.stack(list(terms.values())).sum()
    named = dict(found.detector.named_parameters())
    gradients = torch.autograd.grad(
        total, list(named.values()), retain_graph=True, allow_unused=True
    )
    for name, gradient in zip(named, gradients, strict=True):
        assert gradient is not None, name
        assert gradient.isfinite().all(), name


@pytest.mark.parametrize("model", MODELS)
def test_the_published_parts_of_a_model_work_together(model: str) -> None:
    found = step(model)
    assert_everything_learns(found, detbox.build_criterion(found.cfg))
    prediction = found.outputs.prediction
    assert prediction.logits.shape[-1] == CLASSES + (given(model) == "softmax")
    sizes = torch.tensor([[SIDE, SIDE], [96, SIDE]])
    for image in build_postprocess(found.cfg)(prediction, sizes):
        assert image.boxes.isfinite().all()
        assert set(image.labels.tolist()) <= set(range(CLASSES))


@pytest.mark.parametrize(("model", "matcher", "loss"), FITTING)
def test_every_parameter_learns_with_any_matcher_and_loss_that_fits(
    model: str, matcher: dict[str, Any], loss: str
) -> None:
    assert_everything_learns(step(model), criterion_of(matcher, loss))


@pytest.mark.parametrize(("model", "key", "part"), NONSENSE)
def test_a_part_that_reads_other_scores_than_the_model_gives_is_refused(
    model: str, key: str, part: dict[str, Any]
) -> None:
    cfg = deepcopy(small(model))
    OmegaConf.update(cfg, key, part, merge=False, force_add=True)
    with pytest.raises(ValueError, match=rf"model={cfg.model.name} .*{part['name']}.*; try "):
        build_module(cfg, LabelSpace(tuple("abcd"), (1, 2, 3, 4)))
