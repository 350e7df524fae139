"""What gets no gradient is found without one, named and frozen."""

from __future__ import annotations

import torch
from tiny import MODEL
from torch import Tensor, nn

import detbox
from detbox.engine.unused import freeze_unused, unused
from detbox.models.detector import Detector


class Wasteful(nn.Module):
    """Computes two maps, of which it returns one."""

    channels, strides = (4,), (32,)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 32, 32), nn.BatchNorm2d(4))
        self.fuse = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)])
        self.scale = nn.Parameter(torch.ones(1))
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """One map of stride 32."""
        maps = [fuse(self.stem(pixels)) for fuse in self.fuse]
        return [maps[0], maps[1] * self.scale * self.frozen][:1]


def detector_of(backbone: nn.Module | None = None) -> Detector:
    """A tiny one."""
    detector = detbox.build_detector(detbox.compose(*MODEL), 3)
    if backbone is not None:
        detector.backbone = backbone
        detector.neck = nn.Identity()  # type: ignore[assignment]
    return detector


def test_what_no_map_depends_on_is_named_and_frozen() -> None:
    backbone = Wasteful()
    before = {name: each.clone() for name, each in backbone.state_dict().items()}
    told = freeze_unused(detector_of(backbone))
    assert told is not None
    assert told.startswith("21 parameters of the backbone")
    assert "are frozen: backbone.scale, backbone.fuse.1;" in told
    learns = {name for name, each in backbone.named_parameters() if each.requires_grad}
    assert learns == {f"{each}.{of}" for each in ("stem.0", "stem.1", "fuse.0") for of in NAMES}
    assert backbone.training
    assert all(torch.equal(before[name], each) for name, each in backbone.state_dict().items())


NAMES = ("weight", "bias")


def test_a_backbone_that_uses_all_is_left_alone() -> None:
    assert freeze_unused(detector_of()) is None


def test_it_is_what_gets_no_gradient() -> None:
    detector = detector_of(Wasteful())
    found = unused(detector)
    sum(each.sum() for each in detector.backbone(torch.ones(1, 3, 64, 64))).backward()
    learns = ((n, p) for n, p in detector.backbone.named_parameters() if p.requires_grad)
    assert set(found) == {name for name, each in learns if each.grad is None}
