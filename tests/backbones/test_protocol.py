"""Backbones of a third kind: what they say themselves counts, in loading and in detecting."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from detbox.backbones import Backbone, BackboneModule, described
from detbox.backbones.files import load_file
from detbox.backbones.naming import Names
from detbox.backbones.weights import WeightsUnavailableError, load_pretrained
from detbox.models.detector import Detector
from detbox.necks.simple_feature_pyramid import SimpleFeaturePyramid
from detbox.registry import MODELS
from detbox.structures import ImageBatch


class Outsider(nn.Module):
    """One map of H / 16 x W / 16 cells, which says some things of itself."""

    channels, strides = (8,), (16,)
    mean, std = (0.5, 0.25, 0.0), (0.25, 0.5, 1.0)
    size_divisor = 48

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Conv2d(3, 8, 16, 16)  # no name for messages, as in `Backbone`
        self.seen: list[Tensor] = []

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) to one map."""
        self.seen.append(pixels)
        return (self.model(pixels),)

    def namings(self) -> dict[str, Names]:
        """Those of a release of its own."""
        return {"outside": {f"model.{name}": (f"stem/{name}",) for name in ("weight", "bias")}}

    def may_lack(self, name: str) -> bool:
        """The bias."""
        return name.endswith("bias")


class Stranger(nn.Module):
    """All that `Backbone` asks, without a line of `BackboneModule`."""

    channels: tuple[int, ...] = (8,)
    strides: tuple[int, ...] = (16,)
    mean: tuple[float, ...] = (0.5, 0.25, 0.0)
    std: tuple[float, ...] = (0.25, 0.5, 1.0)
    size_divisor = 1
    model, pretrained, published, reads_all = "stranger", "auto", False, True
    weights_file: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 16, 16)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) to one map."""
        return (self.stem(pixels),)

    def tensors(self) -> dict[str, Tensor]:
        """Without a prefix."""
        return self.stem.state_dict()

    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """By the same names."""
        self.stem.load_state_dict(tensors, strict=False)

    def official_names(self) -> Names:
        """None."""
        return {}

    def constants(self) -> dict[str, Tensor]:
        """None."""
        return {}

    def namings(self) -> dict[str, Names]:
        """One."""
        return {"strange": {name: (f"stem/{name}",) for name in self.tensors()}}

    def may_lack(self, name: str) -> bool:
        """The bias."""
        return name == "bias"

    def left_by_design(self) -> Collection[str]:
        """Nothing."""
        return ()

    def adapted(self, stored: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
        """Never."""
        return None

    def fetch(self) -> str:
        """Nowhere."""
        raise WeightsUnavailableError("strangers have none")


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A file of the names that both read, without a bias."""
    torch.save({"stem/weight": torch.ones(8, 3, 16, 16)}, tmp_path / "release.pth")
    return tmp_path / "release.pth"


def test_a_module_that_answers_everything_is_a_backbone_as_it_is(release: Path) -> None:
    stranger = Stranger()
    assert not isinstance(stranger, BackboneModule)
    assert described(stranger) is stranger
    with pytest.raises(WeightsUnavailableError, match=r"stranger needs .*strangers have none"):
        load_pretrained(stranger, required=True)
    line = load_pretrained(stranger, required=True, weights=str(release))
    assert "backbone stranger: 1 of 2 tensors" in line
    assert "(strange)" in line
    assert bool((stranger.stem.weight == 1).all())


def test_a_module_that_answers_some_has_the_usual_answers_to_the_rest(release: Path) -> None:
    outsider = Outsider()
    own = described(outsider)
    assert isinstance(own, Backbone)
    assert (own.model, own.size_divisor, own.mean) == ("Outsider", 48, outsider.mean)
    assert (own.published, own.left_by_design(), own.constants()) == (False, (), {})
    line = load_file(own, release)
    assert "backbone Outsider: 1 of 2 tensors" in line
    assert "(outside)" in line
    assert bool((outsider.model.weight == 1).all())


@pytest.mark.parametrize("kind", [Outsider, Stranger])
def test_a_file_that_it_cannot_read_is_refused_with_the_reason(
    kind: type[nn.Module], tmp_path: Path
) -> None:
    torch.save({"stem/weight": torch.ones(8, 3, 4, 4)}, tmp_path / "small.pth")
    with pytest.raises(ValueError, match=r"small\.pth is of another model than (?i:\w+)"):
        load_pretrained(kind(), required=True, weights=str(tmp_path / "small.pth"))


def test_a_detector_pads_and_normalises_as_backbone_and_neck_ask() -> None:
    outsider, neck = Outsider(), SimpleFeaturePyramid(8, 16, 32, finest=4, num_levels=1)
    sizes = {"num_queries": 4, "num_heads": 4, "feedforward_dim": 32}
    detector: Detector = MODELS.build({"name": "dino", **sizes}, outsider, neck, 3)
    assert (detector.size_divisor, detector.least_side) == (48, 16)
    pixels = torch.full((1, 3, 50, 40), 255, dtype=torch.uint8)
    detector.eval()(ImageBatch(pixels, torch.zeros(1, 50, 40, dtype=torch.bool)))
    (seen,) = outsider.seen
    assert seen.shape == (1, 3, 96, 48)
    assert seen[0, :, 0, 0].tolist() == [2.0, 1.5, 1.0]
    assert not seen[:, :, 50:].any()
