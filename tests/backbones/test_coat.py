"""CoaT: maps against timm's at the one size that timm's has, and stochastic depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from named import NAMED, build
from safetensors.torch import save_file
from timm.layers import DropPath
from torch import nn

from detbox.backbones.coat import ParallelBlock
from detbox.backbones.factorised import FactorisedBlock
from detbox.backbones.weights import load_pretrained

WEIGHTED = [name for name in NAMED if name.startswith("coat_")]
"""those that timm has by the same name"""


@pytest.mark.parametrize("name", WEIGHTED)
def test_maps_are_timms_at_the_one_size_that_timms_has(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs: Any = timm.create_model(name, img_size=64).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, 0, 0.1)
    save_file({k: v.clone() for k, v in theirs.state_dict().items()}, tmp_path / "w.safetensors")
    ours = build(name, f"backbone.weights={tmp_path / 'w.safetensors'}").eval()
    line = load_pretrained(ours, required=True)
    assert " missing (" not in line
    assert " left over (" in line
    theirs.return_interm_layers = True
    theirs.out_features = [f"x{stage}_nocls" for stage in (2, 3, 4)]
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs.forward_features(pixels).values()
        for own, other in zip(ours(pixels), expected, strict=True):
            torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["coat_lite_tiny", "coat_tiny"])
def test_drop_path_is_the_same_for_every_block(name: str) -> None:
    with torch.device("meta"):
        backbone = build(name, "backbone.drop_path=0.3")
    found = [module.drop_prob for module in backbone.modules() if isinstance(module, DropPath)]
    parallel = 6 if name == "coat_tiny" else 0
    assert found == [0.3] * (2 + 2 + 2 + 2 + parallel)


@torch.no_grad()
def test_a_dropped_parallel_block_passes_its_tokens_on() -> None:
    torch.manual_seed(0)
    backbone = build("coat_tiny", "backbone.drop_path=0.999999").train()
    seen = []
    for module in backbone.modules():
        if isinstance(module, ParallelBlock):
            module.register_forward_hook(lambda _, given, found: seen.append((given[0], found)))
    backbone(torch.randn(2, 3, 64, 64))
    assert len(seen) == 6
    for given, found in seen:
        assert all(torch.equal(a, b) for a, b in zip(given, found, strict=True))


@torch.no_grad()
def test_a_dropped_serial_block_only_adds_positions() -> None:
    torch.manual_seed(0)
    backbone = build("coat_lite_tiny", "backbone.drop_path=0.999999").train()
    seen = []
    for module in backbone.modules():
        if isinstance(module, FactorisedBlock):
            module.register_forward_hook(lambda _, given, found: seen.append((given, found)))
    backbone(torch.randn(2, 3, 64, 64))
    assert len(seen) == 8
    for (tokens, position, _, size), found in seen:
        assert torch.equal(found, position(tokens, size))
