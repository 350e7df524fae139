"""Gradient norms: one of all, one of each part, and together they are the whole."""

from __future__ import annotations

import pytest
import torch
from tiny import MODEL
from torch import nn
from torch.nn.utils import get_total_norm

import detbox
from detbox.tracking.gradients import block_of, gradient_norms


def test_the_norms_of_the_parts_make_up_that_of_all() -> None:
    module = nn.Module()
    module.detector = detbox.build_detector(detbox.compose(*MODEL), num_classes=3)
    generator = torch.Generator().manual_seed(0)
    trained = [each for each in module.parameters() if each.requires_grad]
    for each in trained[1:]:  # one has none, as a part that a step did not use
        each.grad = torch.randn(each.shape, generator=generator)
    norms = gradient_norms(module)
    parts = {name.removeprefix("grad_norm/"): norms[name] for name in norms if "train" not in name}
    slots = {"backbone", "neck", "encoder", "query_source", "decoder", "denoiser"}
    assert set(parts) == {*slots, "heads"}
    total = get_total_norm([each.grad for each in trained if each.grad is not None])
    torch.testing.assert_close(norms["train/grad_norm"], total)
    torch.testing.assert_close(torch.stack(list(parts.values())).norm(), total)
    neck = [
        each.grad
        for each in module.get_submodule("detector.neck").parameters()
        if each.grad is not None
    ]
    torch.testing.assert_close(parts["neck"], get_total_norm(neck))


@pytest.mark.parametrize(
    ("parameter", "block"),
    [
        ("detector.decoder.layers.0.norm1.weight", "decoder"),
        ("detector.decoder.heads.class_heads.0.bias", "heads"),
        ("detector.query_source.proposals.box_head.layers.0.weight", "heads"),
        ("detector.query_source.point_head.layers.0.weight", "query_source"),
        ("detector.scale", "detector"),
        ("criterion.temperature", "criterion"),
    ],
)
def test_a_parameter_belongs_to_the_slot_that_the_detector_names(
    parameter: str, block: str
) -> None:
    assert block_of(parameter) == block
