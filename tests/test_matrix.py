"""Every model with every matcher and loss that reads its class scores; all others are refused."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
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
from detbox.build import build_module, build_postprocess
from detbox.criterion import Criterion
from detbox.models.detector import Detector
from detbox.registry import LOSSES, MATCHERS, POSTPROCESSES
from detbox.structures import ImageBatch, LabelSpace, Outputs

MODELS = sorted(file.stem for file in (Path(__file__).parents[1] / "conf/model").glob("*.yaml"))
"""every registered name has its YAML, see `test_configs`"""
SMALL = {
    **dict.fromkeys(("num_queries", "num_denoising"), 8),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "denoising_groups"), 2),
    **{"num_heads": 4, "num_points": 2, "feedforward_dim": 32, "dropout": 0.0},
}
BOXES = ("l1", "giou")
SOFTMAX = ("detr", "cross_entropy", "softmax")
"""what has a softmax over the classes and no object; all others have sigmoids"""
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


def matchers(softmax: bool) -> list[dict[str, Any]]:
    """Settings of every registered matcher that reads such scores."""
    chosen = {"class_cost": "softmax" if softmax else "focal"}
    free = {name: _has_choice(name) for name in MATCHERS.names()}
    return [
        {"name": name, **(chosen if choice else {})}
        for name, choice in free.items()
        if choice or not softmax
    ]


def _has_choice(matcher: str) -> bool:
    return "class_cost" in signature(MATCHERS.bind({"name": matcher})).parameters


def classification(softmax: bool) -> list[dict[str, Any]]:
    """Every registered loss that reads such scores."""
    names = sorted(set(LOSSES.names()) - set(BOXES))
    return [{"name": name} for name in names if (name in SOFTMAX) == softmax]


def postprocesses(softmax: bool) -> list[dict[str, Any]]:
    """Every registered post-processing that reads such scores."""
    return [{"name": name} for name in POSTPROCESSES.names() if (name in SOFTMAX) == softmax]


FITTING = [
    pytest.param(model, matcher, loss["name"], id=f"{model}-{matcher['name']}-{loss['name']}")
    for model in MODELS
    for matcher in matchers(model in SOFTMAX)
    for loss in classification(model in SOFTMAX)
]
PARTS = {
    "matcher": matchers,
    "criterion.losses.class": classification,
    "postprocess": postprocesses,
}
NONSENSE = [
    pytest.param(model, key, part, id=f"{model}-{part['name']}")
    for model in MODELS
    for key, parts in PARTS.items()
    for part in parts(model not in SOFTMAX)
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
    assert prediction.logits.shape[-1] == CLASSES + (model in SOFTMAX)
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
