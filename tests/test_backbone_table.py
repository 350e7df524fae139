"""The table of backbones says what the papers say."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "list_backbones.py"


@pytest.fixture(scope="module")
def tool() -> dict[str, Any]:
    """The tool's functions."""
    return runpy.run_path(str(TOOL))


@pytest.mark.parametrize(
    ("name", "millions", "operations"),
    [
        # Without classifiers: He et al., CVPR 2016; Liu et al., ICCV 2021 and CVPR 2022, table 1.
        ("resnet50", 23.5, 4.09),
        ("swin_t", 27.5, 4.5),
        ("convnext_t", 27.8, 4.5),
    ],
)
def test_figures_at_224_are_those_of_the_papers(
    tool: dict[str, Any], name: str, millions: float, operations: float
) -> None:
    found = tool["row"](name, 224, 224)
    assert found.parameters / 1e6 == pytest.approx(millions, rel=0.01)
    assert found.operations / 1e9 == pytest.approx(operations, rel=0.03)
    assert found.strides == (8, 16, 32)


def test_licences_are_those_that_timm_or_the_authors_state(tool: dict[str, Any]) -> None:
    assert tool["licence"]("vit_base_patch16_dinov3.lvd1689m") == "dinov3-license"
    assert tool["licence"]("mpvit_small") == "GPL-3.0 or commercial"
    assert tool["licence"]("my_own") == "-"


def test_a_row_is_a_line_of_markdown(tool: dict[str, Any]) -> None:
    line = str(tool["row"]("resnet10t", 64, 64))
    assert line.startswith("| `resnet10t` | 4.9 M | ")
    assert line.count("|") == 7
    assert "8, 16, 32" in line
