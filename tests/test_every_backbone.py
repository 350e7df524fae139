"""One step of training with every named backbone."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch
from scenes import random_targets
from torch import Tensor

import detbox
from detbox.registry import BACKBONES, MODELS, NECKS, OPTIMIZERS
from detbox.structures import ImageBatch

CONF = Path(__file__).parents[1] / "conf" / "backbone"
NAMED = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "timm")
SMALL = (
    *("neck.hidden_dim=32", "model.num_heads=4", "model.num_queries=8", "model.feedforward_dim=32"),
    *("model.encoder_layers=1", "model.decoder_layers=1", "backbone.pretrained=false"),
)
TARGETS = random_targets(2, 1)
GIBIBYTE = 2**20
"""in the kilobytes of getrusage"""


def images() -> ImageBatch:
    """Two tiny pictures, the second padded."""
    mask = torch.zeros(2, 64, 96, dtype=torch.bool)
    mask[1, :, 72:] = True
    return ImageBatch(torch.randint(256, (2, 3, 64, 96), dtype=torch.uint8), mask)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMED)
def test_a_step_with_either_model_moves_the_weights_within_24_gib(name: str) -> None:
    torch.manual_seed(0)
    chosen = (f"backbone={name}", *SMALL)
    backbone = BACKBONES.build(detbox.compose(*chosen).backbone)
    for model in ("dino", "deformable_detr"):
        cfg = detbox.compose(f"model={model}", *chosen)
        necks = NECKS.build(cfg.neck, backbone.channels, backbone.strides)
        detector = MODELS.build(cfg.model, backbone, necks, 4).train()
        optimizer = OPTIMIZERS.build(cfg.optimizer, detector)
        learning = [each for each in backbone.parameters() if each.requires_grad]
        before = [each.detach().clone() for each in learning[-4:]]
        terms = detbox.build_criterion(cfg)(detector(images(), TARGETS), TARGETS)
        total: Tensor = torch.stack(list(terms.values())).sum()
        total.backward()
        optimizer.step()
        optimizer.zero_grad()
        assert total.isfinite()
        assert any(not torch.equal(a, b) for a, b in zip(before, learning[-4:], strict=True))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 24 * GIBIBYTE
