"""Size and cost of the full model against the paper's table."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "benchmark_model.py"
COCO_CLASSES = 91


@pytest.fixture(scope="module")
def figures() -> Any:
    """DINO 4-scale with ResNet-50 at the paper's image size."""
    measure = runpy.run_path(str(TOOL))["measure"]
    return measure(["model=dino", "backbone=resnet50"], 800, 1333, COCO_CLASSES)


def test_parameters_are_those_of_the_official_model(figures: Any) -> None:
    assert figures.parameters == 46_893_182
    assert figures.trainable == 46_670_782


def test_multiply_adds_are_within_three_percent_of_the_paper(figures: Any) -> None:
    assert figures.total / 1e9 == pytest.approx(279, rel=0.03)


def test_the_backbone_costs_what_a_resnet50_costs(figures: Any) -> None:
    # 4.09 G at 224 x 224 without the classifier (He et al., CVPR 2016), which scales by area.
    assert figures.parts["backbone"] / 1e9 == pytest.approx(4.09 * 800 * 1333 / 224**2, rel=0.01)


def test_deformable_sampling_is_a_hundredth_of_the_whole(figures: Any) -> None:
    tokens = 100 * 167 + 50 * 84 + 25 * 42 + 13 * 21
    points = 6 * (tokens + 900) * 256 * 4 * 4
    assert figures.sampling == 5 * points
    assert figures.sampling < 0.011 * figures.total


def test_five_scales_cost_three_times_as_much() -> None:
    measure = runpy.run_path(str(TOOL))["measure"]
    figures = measure(["model=dino_5scale", "backbone=resnet50"], 800, 1333, COCO_CLASSES)
    assert (figures.parameters, figures.trainable) == (47_255_806, 47_033_406)
    four = measure(["model=dino", "backbone=resnet50"], 800, 1333, COCO_CLASSES)
    assert figures.total / four.total == pytest.approx(3, rel=0.05)
