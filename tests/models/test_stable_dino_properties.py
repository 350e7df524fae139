"""What Stable-DINO adds to DINO, and that each addition serves alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import detbox
from detbox.models.detector import Detector, feature_maps
from detbox.models.dino import NoiseDraws
from detbox.models.stable_dino import DenseFusion, UnshiftedDenoiser
from detbox.structures import ImageBatch, Targets

CLASSES = 5
TINY = (
    *("backbone=resnet10t", "backbone.pretrained=false", "neck.hidden_dim=32"),
    *("neck.num_levels=3", "model.num_queries=8", "model.encoder_layers=2"),
    *("model.decoder_layers=2", "model.num_heads=4", "model.feedforward_dim=32"),
    "model.num_denoising=4",
)
TARGETS = Targets(
    torch.tensor([1, 4, 1]),
    torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.3, 0.6, 0.2, 0.3], [0.6, 0.4, 0.5, 0.2]]),
    (2, 1),
)
COMBINATIONS = {
    "all": ("model=stable_dino",),
    "fusion": ("model=stable_dino", "criterion=focal", "matcher=hungarian"),
    "loss": ("model=dino", "criterion=stable"),
    "matching": ("model=dino", "matcher=stable"),
}


def images() -> ImageBatch:
    """Two images of unequal size."""
    mask = torch.zeros(2, 64, 64, dtype=torch.bool)
    mask[1, :, 48:] = True
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return ImageBatch(pixels.masked_fill(mask[:, None], 0), mask)


def build(*overrides: str) -> Detector:
    """A small detector whose weights are all random."""
    torch.manual_seed(0)
    detector = detbox.build_detector(detbox.compose(*overrides, *TINY), CLASSES)
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return detector


@pytest.mark.parametrize("part", COMBINATIONS)
def test_each_part_trains_alone_and_gives_every_parameter_a_gradient(part: str) -> None:
    cfg = detbox.compose(*COMBINATIONS[part], *TINY)
    detector = build(*COMBINATIONS[part])
    terms = detbox.build_criterion(cfg)(detector(images(), TARGETS), TARGETS)
    torch.stack(list(terms.values())).sum().backward()
    for name, parameter in detector.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    ("part", "matcher", "loss"),
    [
        ("all", "stable", "position_supervised"),
        ("fusion", "hungarian", "focal"),
        ("loss", "hungarian", "position_supervised"),
        ("matching", "stable", "focal"),
    ],
)
def test_a_chosen_matcher_or_criterion_goes_before_the_models_own(
    part: str, matcher: str, loss: str
) -> None:
    cfg = detbox.compose(*COMBINATIONS[part])
    assert (cfg.matcher.name, cfg.criterion.losses["class"].name) == (matcher, loss)


def test_the_memory_mixes_the_input_and_every_layer() -> None:
    detector, batch = build("model=stable_dino").eval(), images()
    encoder = detector.encoder
    maps = feature_maps(
        detector.neck(detector.backbone(batch.pixels)), batch.mask, detector.position
    )
    states: list[Tensor] = [encoder.flatten(maps).tokens]
    handles = [
        layer.register_forward_hook(lambda module, inputs, memory: states.append(memory.tokens))
        for layer in encoder.layers
    ]
    memory = encoder(maps)
    for handle in handles:
        handle.remove()
    torch.testing.assert_close(memory.tokens, encoder.fusion(states))
    assert len(states) == 3


def test_fusion_of_one_state_by_the_identity_is_its_norm() -> None:
    fusion, states = DenseFusion(8, 2), list(torch.randn(3, 2, 5, 8))
    with torch.no_grad():
        fusion.linear.weight.copy_(torch.cat((torch.zeros(8, 16), torch.eye(8)), 1))
    torch.testing.assert_close(fusion(states), fusion.norm(states[2]))


def test_negatives_are_no_farther_than_positives() -> None:
    denoiser, count = UnshiftedDenoiser(CLASSES, 8), 6
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.2]]).expand(count, -1)
    draws = NoiseDraws(
        torch.zeros(count), torch.zeros(count), torch.ones(count, 4), torch.rand(count, 4)
    )
    positive, negative = (
        denoiser.noised(boxes, torch.full((count,), each), draws) for each in (False, True)
    )
    torch.testing.assert_close(positive, negative)
    assert (positive[:, :2] - 0.5 <= 0.1).all()


@pytest.mark.parametrize(
    ("num_denoising", "counts", "groups"), [(100, (7, 3), 14), (4, (3, 1), 1), (4, (0, 0), 4)]
)
def test_pairs_are_shared_out_among_the_fullest_images_objects(
    num_denoising: int, counts: tuple[int, ...], groups: int
) -> None:
    targets = Targets(torch.zeros(sum(counts)), torch.zeros(sum(counts), 4), counts)
    assert UnshiftedDenoiser(CLASSES, 8, num_denoising).num_groups(targets) == groups


def test_the_class_of_a_denoised_query_weighs_less() -> None:
    criterion = detbox.build_criterion(detbox.compose("model=stable_dino"))
    outputs = build("model=stable_dino")(images(), TARGETS)
    weights = {each.group: criterion.weight_of(each, "class") for each in outputs.all}
    assert weights == {"match": 6.0, "denoise": 1.0, "encoder": 6.0}
    assert {criterion.weight_of(each, "l1") for each in outputs.all} == {5.0}
