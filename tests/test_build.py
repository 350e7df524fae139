"""The public surface: compose, build, extend from outside, and where weights must come from."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from scenes import random_targets
from tiny import MODEL
from torch import Tensor, nn
from torch.nn import functional as F

import detbox
from detbox.backbones import hub
from detbox.backbones.weights import WeightsUnavailableError
from detbox.build import build_module, load_backbone, plain
from detbox.registry import BACKBONES
from detbox.structures import ImageBatch, LabelSpace, Outputs

SPACE = LabelSpace(("a", "b", "c", "d"), (1, 2, 3, 4))
TARGETS = random_targets(2, 1)


class Given(nn.Module):
    """Returns the features that it was given."""

    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def __init__(self, maps: Sequence[Tensor], strides: Sequence[int]) -> None:
        super().__init__()
        self.maps = tuple(maps)
        self.channels = tuple(each.shape[1] for each in maps)
        self.strides = tuple(strides)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """The maps, whatever the picture."""
        return self.maps


@pytest.fixture
def features(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Two maps for 64-pixel pictures; a backbone named `given` returns them."""
    monkeypatch.setattr(BACKBONES, "_parts", dict(BACKBONES._parts))
    maps = [torch.rand(2, 6, 8, 8, requires_grad=True), torch.rand(2, 10, 4, 4, requires_grad=True)]

    @BACKBONES.register("given")
    def given(*, strides: tuple[int, ...] = (8, 16)) -> Given:
        return Given(maps, strides)

    return maps


def pictures() -> ImageBatch:
    """Two images of bytes, the second padded below."""
    mask = torch.zeros(2, 64, 64, dtype=torch.bool)
    mask[1, 48:] = True
    pixels = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8) * ~mask[:, None]
    return ImageBatch(pixels, mask)


def total(outputs: Outputs, cfg: DictConfig) -> Tensor:
    """The loss to minimise."""
    return torch.stack(list(detbox.build_criterion(cfg)(outputs, TARGETS).values())).sum()


def test_the_documented_calls_compose_build_and_give_a_loss() -> None:
    cfg = detbox.compose("model=dino", *MODEL)
    detector = detbox.build_detector(cfg, num_classes=4)
    outputs = detector(pictures(), TARGETS)
    assert outputs.prediction.logits.shape == (2, 8, 4)
    assert outputs.prediction.boxes.shape == (2, 8, 4)
    terms = detbox.build_criterion(cfg)(outputs, TARGETS)
    assert {name.split("/")[0] for name in terms} == {"decoder0", "decoder1", "encoder"}
    assert {name.rsplit("/")[-1] for name in terms} == {"class", "l1", "giou"}
    total(outputs, cfg).backward()


def test_without_targets_nothing_is_denoised() -> None:
    detector = detbox.build_detector(detbox.compose(*MODEL), num_classes=4)
    assert any("denoise" in each.name for each in detector(pictures(), TARGETS).all)
    assert not any("denoise" in each.name for each in detector(pictures()).all)


def test_compose_knows_its_choices_and_keys() -> None:
    cfg = detbox.compose("model=dino", "backbone=swin_l", "model.num_queries=300")
    assert (cfg.model.name, cfg.model.num_queries) == ("dino", 300)
    assert cfg.backbone.model.startswith("swin_large")
    for wrong in ("model=dinoo", "model.num_querys=300", "model.num_queries=many"):
        with pytest.raises(HydraException):
            detbox.compose(wrong)


def test_everything_that_is_public_is_there() -> None:
    documented = "compose build_detector build_criterion load_official save_official load ops"
    assert set(documented.split()) <= set(detbox.__all__)
    assert all(hasattr(detbox, name) for name in detbox.__all__)
    assert callable(detbox.ops.ms_deform_attn)


def test_official_names_lead_back_to_the_same_detector() -> None:
    cfg = detbox.compose(*MODEL)
    first, second = (detbox.build_detector(cfg, num_classes=4) for _ in range(2))
    detbox.load_official(second, detbox.save_official(first))
    learnt = {
        name: value for name, value in first.state_dict().items() if "num_batches" not in name
    }
    for name, value in learnt.items():
        assert torch.equal(second.state_dict()[name], value), name


def test_a_backbone_from_outside_is_assembled_by_its_name(features: list[Tensor]) -> None:
    cfg = detbox.compose(*MODEL)
    cfg.backbone = {"name": "given"}
    detector = detbox.build_detector(cfg, num_classes=4)
    assert isinstance(detector.backbone, Given)
    total(detector(pictures(), TARGETS), cfg).backward()
    for each in features:
        assert each.grad is not None
        assert each.grad.any()


def test_a_backbone_from_outside_has_a_checked_schema(features: list[Tensor]) -> None:
    chosen = ("~backbone", "+schema/backbone@backbone=given")
    cfg = detbox.compose(*chosen, "backbone.strides=[4,8]")
    assert cfg.backbone == {"name": "given", "strides": [4, 8]}
    assert detbox.build_detector(cfg, 4).backbone.channels == (6, 10)
    with pytest.raises(HydraException):
        detbox.compose(*chosen, "backbone.stride=4")


def test_given_features_decide_what_is_predicted(features: list[Tensor]) -> None:
    cfg = detbox.compose(*MODEL)
    cfg.backbone = {"name": "given"}
    detector = detbox.build_detector(cfg, num_classes=4).eval()
    pixels = pictures().pixels
    first, second = (
        detector(ImageBatch(each, torch.zeros(2, 64, 64, dtype=torch.bool))).prediction.logits
        for each in (pixels, F.pad(pixels[..., 1:], (0, 1)))
    )
    torch.testing.assert_close(first, second)


@pytest.fixture
def without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the cache, and no network."""
    monkeypatch.setattr(hub, "_cached", lambda model: None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.usefixtures("without_weights")
def test_nobody_trains_on_own_data_from_scratch_by_accident() -> None:
    module = build_module(detbox.compose(*MODEL, "backbone.pretrained=auto"), SPACE)
    way_out = r"resnet10t.* needs pretrained weights.*backbone\.weights=FILE.*pretrained=false"
    with pytest.raises(WeightsUnavailableError, match=way_out):
        load_backbone(module, embedded=False)


@pytest.mark.usefixtures("without_weights")
def test_on_the_embedded_data_random_weights_are_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    module = build_module(detbox.compose(*MODEL, "backbone.pretrained=auto"), SPACE)
    load_backbone(module, embedded=True)
    assert "random weights, because the cache has none" in caplog.text


@pytest.mark.parametrize("embedded", [True, False])
def test_random_weights_may_be_asked_for(embedded: bool) -> None:
    module = build_module(detbox.compose(*MODEL), SPACE)
    before = module.detector.backbone.body.conv1[0].weight.clone()
    load_backbone(module, embedded)
    assert torch.equal(module.detector.backbone.body.conv1[0].weight, before)


@pytest.mark.parametrize(
    ("overrides", "refused"),
    [
        (("model=detr", "criterion=focal"), r"criterion\.losses\.class=focal needs sigmoid"),
        (("model=detr", "matcher=min_sum"), r"matcher=min_sum needs sigmoid"),
        (("model=detr", "postprocess=top"), r"postprocess=top needs sigmoid"),
        (("criterion=cross_entropy",), r"class=cross_entropy needs softmax"),
        (("matcher=hungarian_detr",), r"matcher=hungarian needs softmax"),
        (("postprocess=softmax",), r"postprocess=softmax needs softmax"),
    ],
)
def test_parts_that_read_other_scores_than_the_model_gives_are_refused(
    overrides: tuple[str, ...], refused: str
) -> None:
    small = ("backbone=resnet10t", "backbone.pretrained=false", "neck.hidden_dim=32")
    with pytest.raises(ValueError, match=refused):
        build_module(detbox.compose(*overrides, *small, "model.num_heads=4"), SPACE)


@pytest.mark.parametrize("matcher", ["hungarian", "sinkhorn"])
def test_matchers_that_know_both_kinds_of_scores_serve_softmax_models(matcher: str) -> None:
    small = ("backbone=resnet10t", "backbone.pretrained=false", "neck.hidden_dim=32")
    own = (f"matcher={matcher}", "matcher.class_cost=softmax", "model.num_heads=4")
    build_module(detbox.compose("model=detr", *own, *small), SPACE)


def test_the_configuration_of_an_old_checkpoint_is_built_to_evaluate() -> None:
    stored = plain(detbox.compose(*MODEL))
    stored["schedule"] = {"name": "step", "drop_epochs": [11], "gamma": 0.1, "warmup_steps": 0}
    module = build_module(OmegaConf.create(stored), SPACE, learns=False)
    assert module.optimization is None
    assert module.config["schedule"]["drop_epochs"] == [11]
