"""What all backbones that are written here have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from named import build
from torch import nn

from detbox.backbones.factorised import FactorisedStack, join_tokens, split_tokens
from detbox.backbones.freezing import way_to_thaw
from detbox.backbones.weights import WeightsUnavailableError, load_pretrained

OWN = ["mpvit_tiny", "coat_lite_tiny", "coat_tiny", "bit_r50"]
MILLIONS = {
    "mpvit_tiny": 5.63,
    "mpvit_xsmall": 10.32,
    "mpvit_small": 22.60,
    "mpvit_base": 74.36,
    "coat_lite_tiny": 5.40,
    "coat_lite_mini": 10.50,
    "coat_lite_small": 19.32,
    "coat_tiny": 5.34,
    "coat_mini": 10.12,
    "coat_small": 21.37,
    "bit_r50": 23.50,
}
"""parameters without classifiers; the papers' tables count those too"""


@pytest.mark.parametrize("name", MILLIONS)
def test_sizes_are_those_of_the_papers(name: str) -> None:
    with torch.device("meta"):
        backbone = build(name)
    count = sum(parameter.numel() for parameter in backbone.parameters())
    assert round(count / 1e6, 2) == MILLIONS[name]


@pytest.mark.parametrize("name", OWN)
def test_a_saved_backbone_loads_again(name: str, tmp_path: Path) -> None:
    saved = build(name)
    torch.save(saved.state_dict(), tmp_path / "own.pth")
    backbone = build(name, f"backbone.weights={tmp_path / 'own.pth'}")
    assert "(detbox backbone)" in load_pretrained(backbone, required=True)
    for own, other in zip(backbone.parameters(), saved.parameters(), strict=True):
        assert torch.equal(own, other)


@pytest.mark.parametrize("name", OWN)
def test_only_the_stages_that_are_asked_for_are_built(name: str) -> None:
    with torch.device("meta"):
        backbone = build(name, "backbone.strides=[4,8]")
        maps = backbone(torch.empty(1, 3, 64, 96))
    assert [tuple(each.shape) for each in maps] == [
        (1, backbone.channels[0], 16, 24),
        (1, backbone.channels[1], 8, 12),
    ]
    assert len(backbone.stages) == (4 if name == "coat_tiny" else 2)


@pytest.mark.parametrize("name", OWN)
@torch.no_grad()
def test_images_of_a_batch_do_not_see_each_other(name: str) -> None:
    backbone = build(name).eval().double()
    pixels = torch.randn(2, 3, 49, 70, dtype=torch.float64)
    together = backbone(pixels)
    alone = backbone(pixels[1:])
    for both, one in zip(together, alone, strict=True):
        torch.testing.assert_close(both[1:], one)


@torch.no_grad()
def test_factorised_attention_is_the_sum_over_tokens_that_the_paper_gives() -> None:
    torch.manual_seed(0)
    stack: Any = FactorisedStack(16, 2, [0.0], checkpointing=False)
    attention, relative = stack.blocks[0].attention, stack.relative
    nn.init.zeros_(attention.projection.bias)
    for conv in relative.convs:
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)
    tokens = torch.randn(1, 7, 16)  # a class token and a map of 2 x 3
    queries, keys, values = attention.qkv(tokens)[0].chunk(3, -1)
    expected = torch.zeros(7, 16)
    for head in range(8):
        own = slice(2 * head, 2 * head + 2)
        weights = keys[:, own].softmax(0)
        expected[:, own] = queries[:, own] @ (weights.T @ values[:, own]) / 2**0.5
    expected = expected @ attention.projection.weight.T
    torch.testing.assert_close(attention(tokens, relative, (2, 3))[0], expected)


@torch.no_grad()
def test_positions_leave_class_tokens_alone() -> None:
    stack: Any = FactorisedStack(16, 2, [0.0], checkpointing=False)
    tokens = torch.randn(2, 7, 16)
    assert torch.equal(stack.position(tokens, (2, 3))[:, 0], tokens[:, 0])
    assert not stack.relative(tokens, tokens, (2, 3))[:, 0].any()
    assert torch.equal(join_tokens(*split_tokens(tokens, (2, 3))), tokens)


@pytest.mark.parametrize("name", OWN)
def test_frozen_stages_stay_as_they_are_and_the_others_learn(name: str) -> None:
    backbone = build(name, "backbone.frozen_stages=2").train()
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    sum(maps.square().sum() for maps in backbone(torch.randn(2, 3, 64, 64))).backward()
    learning = {name for name, each in backbone.named_parameters() if each.grad is not None}
    frozen = {name for name, each in backbone.named_parameters() if not each.requires_grad}
    first, second, third, _ = (f"stages.{name}." for name, _ in backbone.stages.named_children())
    stages = (first, second)
    assert {name for name in frozen if not name.startswith(stages)} <= begun(backbone)
    assert not any(name.startswith(stages) for name in learning)
    assert any(name.startswith(third) for name in learning)
    moved = {name for name, value in backbone.named_buffers() if not value.equal(before[name])}
    assert not any(name.startswith(("stem.", *stages)) for name in moved)
    assert "backbone.frozen_stages=0" in way_to_thaw(backbone)


def begun(backbone: nn.Module) -> set[str]:
    """Parameters of the stem."""
    return {name for name, _ in backbone.named_parameters() if name.startswith("stem.")}


@pytest.mark.parametrize("name", OWN)
def test_a_backbone_frozen_as_a_whole_stays_as_it_is(name: str) -> None:
    backbone = build(name, "backbone.frozen_stages=-1", "backbone.drop_path=0.9").train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    pixels = torch.randn(2, 3, 64, 64)
    first, second = backbone(pixels), backbone(pixels)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert all(torch.equal(each, before[name]) for name, each in backbone.state_dict().items())


@pytest.mark.parametrize("name", OWN)
def test_stages_that_there_are_not_cannot_be_frozen(name: str) -> None:
    with pytest.raises(ValueError, match="choose 0 to 4"):
        build(name, "backbone.frozen_stages=5")
    with pytest.raises(ValueError, match="at least -1, got -2"):
        build(name, "backbone.frozen_stages=-2")


def test_stages_beyond_the_last_stride_cannot_be_frozen() -> None:
    with pytest.raises(ValueError, match="2 stages up to stride 8; choose 0 to 2"):
        build("bit_r50", "backbone.strides=[8]", "backbone.frozen_stages=3")


@pytest.mark.parametrize("name", ["mpvit_tiny", "coat_lite_tiny", "bit_r50"])
def test_drop_path_is_for_training_only(name: str) -> None:
    backbone = build(name, "backbone.drop_path=0.9", "backbone.strides=[4,8]").train()
    pixels = torch.randn(4, 3, 32, 32)
    assert not torch.equal(backbone(pixels)[-1], backbone(pixels)[-1])
    backbone.eval()
    assert torch.equal(backbone(pixels)[-1], backbone(pixels)[-1])


def test_without_a_file_required_weights_stop_with_the_way_out() -> None:
    with pytest.raises(WeightsUnavailableError, match=r"no hub.*backbone\.weights=FILE"):
        load_pretrained(build("mpvit_tiny"), required=True)
    assert "random weights" in load_pretrained(build("mpvit_tiny"), required=False)


@pytest.mark.parametrize(
    ("name", "option", "hint"),
    [
        ("mpvit", "backbone.strides=[2]", r"some of \[4, 8, 16, 32\]"),
        ("mpvit", "backbone.widths=[64,128]", "each of 4 stages"),
        ("mpvit", "backbone.widths=[64,128,0,288]", "widths must be at least 1, got 0"),
        ("mpvit", "backbone.paths=[0,3,3,3]", "paths must be at least 1, got 0"),
        ("mpvit", "backbone.drop_path=2", "from 0 to below 1"),
        ("coat", "backbone.widths=[63,128,320,512]", r"multiples of 8.*got 63, try 64"),
        ("coat", "backbone.parallel_depth=6", "widths.* are equal"),
        ("coat", "backbone.parallel_depth=-1", "parallel_depth must be at least 0"),
        ("coat", "backbone.drop_path=-0.1", "from 0 to below 1"),
        ("bit_r50", "backbone.drop_path=1", "from 0 to below 1"),
        ("bit_r50", "backbone.pretrained=maybe", "auto, true, false"),
    ],
)
def test_impossible_settings_are_named(name: str, option: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        build(name, option)
