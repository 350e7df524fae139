"""BiT: maps against timm's, files of all kinds, and stochastic depth."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from named import build
from timm.layers import DropPath
from torch import nn

from detbox.backbones.bit import StandardisedConv
from detbox.backbones.weights import load_pretrained

EVERY = "backbone.strides=[4,8,16,32]"


@pytest.fixture
def theirs() -> nn.Module:
    """timm's model with the pool and norms of the JAX code, on weights that make eps matter."""
    torch.manual_seed(0)
    model = timm.create_model("resnetv2_50x1_bit", num_classes=1).eval()
    model.stem.pad, model.stem.pool = nn.Identity(), nn.MaxPool2d(3, 2, 1)  # theirs pads with 0
    for module in model.modules():
        if isinstance(module, nn.GroupNorm):
            module.eps = 1e-6
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.normal_(module.bias, 0, 0.01)
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight)
    return model


@torch.no_grad()
def test_maps_are_timms_at_an_odd_size(theirs: nn.Module, tmp_path: Path) -> None:
    torch.save(theirs.state_dict(), tmp_path / "timm.pth")
    ours = build("bit_r50", EVERY, f"backbone.weights={tmp_path / 'timm.pth'}").eval()
    load_pretrained(ours, required=True)
    pixels = 0.01 * torch.randn(2, 3, 45, 70)
    expected = theirs.forward_intermediates(
        pixels, [1, 2, 3, 4], norm=True, intermediates_only=True
    )
    for own, other in zip(ours(pixels), expected, strict=True):
        close = 1e-3 * float(other.abs().mean())
        torch.testing.assert_close(own, other, rtol=1e-3, atol=close)


def test_googles_file_and_timms_fill_it_alike(tmp_path: Path) -> None:
    theirs = timm.create_model("resnetv2_50x1_bit")
    google, other = tmp_path / "google.npz", tmp_path / "timm.pth"
    source = build("bit_r50")
    names = {name: only for name, (only,) in source.namings()["Google's release"].items()}
    values = {names[name]: value.numpy() for name, value in source.state_dict().items()}
    values["resnet/head/conv2d/kernel"] = np.zeros((9, 2048, 1, 1), np.float32)
    np.savez(
        google, **{n: a.transpose(2, 3, 1, 0) if a.ndim == 4 else a for n, a in values.items()}
    )
    theirs.load_pretrained(str(google))  # timm's own reader of Google's file is the judge
    torch.save(theirs.state_dict(), other)
    for path, layout in ((google, "Google's release"), (other, "timm model")):
        backbone = build("bit_r50", f"backbone.weights={path}")
        line = load_pretrained(backbone, required=True)
        assert re.search(rf"\({layout}\); \d+ left over \(", line)
        assert " missing (" not in line
        for own, given in zip(backbone.parameters(), source.parameters(), strict=True):
            assert torch.equal(own, given)


@pytest.mark.parametrize("layout", ["Google's release", "timm model"])
def test_a_deeper_model_is_refused(layout: str, tmp_path: Path) -> None:
    source = build("bit_r50")
    names = {name: only for name, (only,) in source.namings()[layout].items()}
    values = {names[name]: value for name, value in source.state_dict().items()}
    last = names["stages.3.unit06.norm1.weight"]
    deeper = last.replace("unit06", "unit07").replace("blocks.5", "blocks.6")
    torch.save(values | {deeper: torch.ones(1024)}, tmp_path / "a.pth")
    backbone = build("bit_r50", f"backbone.weights={tmp_path / 'a.pth'}")
    with pytest.raises(ValueError, match=rf"another model.*: 1 left over \({deeper}\)"):
        load_pretrained(backbone, required=True)


def test_kernels_of_jax_are_turned_round(tmp_path: Path) -> None:
    source = build("bit_r50", "backbone.strides=[4]")
    arrays = {
        names[0]: source.state_dict()[name].numpy()
        for name, names in source.namings()["authors' release"].items()
    }
    turned = {n: a.transpose(2, 3, 1, 0) if a.ndim == 4 else a for n, a in arrays.items()}
    np.savez(tmp_path / "jax.npz", **turned)
    backbone = build("bit_r50", "backbone.strides=[4]", f"backbone.weights={tmp_path / 'jax.npz'}")
    assert load_pretrained(backbone, required=True).endswith("jax.npz (authors' release)")
    assert torch.equal(backbone.stem.weight, source.stem.weight)


@torch.no_grad()
def test_scale_and_shift_of_standardised_weights_do_not_matter() -> None:
    conv = StandardisedConv(4, 8, 3, bias=False).double()
    pixels = torch.randn(1, 4, 5, 5, dtype=torch.float64)
    before = conv(pixels)
    conv.weight.mul_(3).add_(1)
    torch.testing.assert_close(conv(pixels), before)


@pytest.mark.parametrize("strides", ["[8]", "[8,16,32]"])
def test_drop_path_rises_linearly_over_all_blocks(strides: str) -> None:
    with torch.device("meta"):
        backbone = build("bit_r50", "backbone.drop_path=0.3", f"backbone.strides={strides}")
    found = [module.drop_prob for module in backbone.modules() if isinstance(module, DropPath)]
    blocks = 3 + 4 if strides == "[8]" else 3 + 4 + 6 + 3
    assert found == pytest.approx([0.3 * block / 15 for block in range(blocks)])


@torch.no_grad()
def test_a_dropped_block_is_its_shortcut() -> None:
    torch.manual_seed(0)
    backbone = build("bit_r50", "backbone.drop_path=0.999999").train()
    last = list(backbone.stages.values())[-1][-1]
    seen = []
    last.register_forward_hook(lambda module, given, found: seen.append((given[0], found)))
    backbone(torch.randn(2, 3, 32, 32))
    backbone.eval()(torch.randn(2, 3, 32, 32))
    assert [torch.equal(given, found) for given, found in seen] == [True, False]
