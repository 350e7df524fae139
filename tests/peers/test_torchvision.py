"""Our frozen norms beside those of torchvision, which the official DETR copies."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from detbox import backbones  # noqa: F401  (importing registers)
from detbox.registry import BACKBONES


@pytest.mark.parametrize("training", [True, False])
def test_frozen_norms_are_those_of_torchvision(training: bool) -> None:
    backbone = BACKBONES.build({"name": "timm", "model": "resnet10t", "frozen_norm": True})
    norms = [each for each in backbone.modules() if hasattr(each, "running_var")]
    assert norms
    generator = torch.Generator().manual_seed(0)
    for norm in norms:
        assert not isinstance(norm, nn.BatchNorm2d)
        assert not list(norm.parameters())
        for each in norm.buffers():
            each.uniform_(0.5, 1.5, generator=generator)
        peer = FrozenBatchNorm2d(len(norm.running_var), eps=norm.eps)
        peer.load_state_dict(norm.state_dict())
        maps = torch.randn(2, len(norm.running_var), 3, 4, generator=generator)
        torch.testing.assert_close(norm.train(training)(maps), peer(maps))
