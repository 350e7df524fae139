"""What must hold for Deformable DETR, with and without anchors and denoising, on any weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_models import (
    CLASSES,
    WIDTH,
    CellMeans,
    CellNeck,
    by_name,
    criterion,
    decoder_inputs,
    images,
    objects,
    same,
    small,
    total_loss,
)
from torch import Tensor

from detbox.models.deformable_detr import FixedReferences, IterativeRefinement, boxes_around
from detbox.models.detector import Detector
from detbox.models.heads import LayerHeads
from detbox.registry import MODELS

VARIANTS: dict[str, dict] = {
    "plain": {"name": "deformable_detr"},
    "refine": {"name": "deformable_detr", "refine": True},
    "two_stage": {"name": "deformable_detr", "refine": True, "two_stage": True},
    "dab": {"name": "dab_deformable_detr"},
    "dn": {"name": "dn_deformable_detr", "denoising_groups": 3},
}
SIZES = (48, 64), (32, 48)


def build(variant: str, num_queries: int = 8, **settings: Any) -> Detector:
    """A small detector of a variant, without dropout."""
    return small(num_queries=num_queries, dropout=0.0, **VARIANTS[variant], **settings)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("counts", [(2, 1), (3, 0), (0, 0)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_learns(
    variant: str, counts: tuple[int, int], precision: torch.dtype
) -> None:
    detector, targets = build(variant), objects(*counts)
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        loss = total_loss(detector(images(*SIZES), targets), targets)
    loss.backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any() or not any(counts), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_without_encoder_layers_every_trainable_parameter_still_learns(variant: str) -> None:
    detector, targets = build(variant, encoder_layers=0), objects(2, 1)
    total_loss(detector(images(*SIZES), targets), targets).backward()
    for name, parameter in detector.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    assert not detector.encoder.level_embed.requires_grad


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_image_is_detected_alike_in_any_company(variant: str) -> None:
    detector = build(variant, num_queries=4).eval()
    first = detector(images((48, 64), (32, 48)))
    second = detector(images((48, 64), (40, 64)))
    torch.testing.assert_close(first.prediction.boxes[0], second.prediction.boxes[0])
    torch.testing.assert_close(first.prediction.logits[0], second.prediction.logits[0])


@pytest.mark.parametrize("variant", ["plain", "refine", "two_stage"])
def test_padding_an_image_leaves_its_detections_unchanged(variant: str) -> None:
    # So few queries that none starts from a padded token, which is allowed to win.
    detector = build(variant, num_queries=4).eval()
    alone, padded = (detector(images(*sizes)) for sizes in ([(32, 48)], [(32, 48), (64, 80)]))
    torch.testing.assert_close(alone.prediction.logits[0], padded.prediction.logits[0])
    torch.testing.assert_close(alone.prediction.boxes[0], padded.prediction.boxes[0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_the_padding_holds_is_never_seen(variant: str) -> None:
    detector, batch = build(variant).eval(), images((32, 48), (64, 80))
    noise = torch.where(batch.mask[:, None], torch.randn_like(batch.pixels), batch.pixels)
    assert same(detector(batch).prediction, detector(batch._replace(pixels=noise)).prediction)


def test_points_give_boxes_their_place_but_no_size() -> None:
    heads, hidden = LayerHeads(WIDTH, CLASSES, 1), torch.randn(1, 3, WIDTH)
    points = torch.randn(1, 3, 2, requires_grad=True)
    boxes, anchors, places = FixedReferences()(heads, 0, hidden, hidden, points)
    assert anchors is points
    assert places is points
    torch.testing.assert_close(boxes[..., :2], points)
    torch.testing.assert_close(boxes[..., 2:], torch.zeros(1, 3, 2))


def test_anchors_stay_within_a_hundred_thousandth_of_the_border() -> None:
    extremes = torch.tensor([[[-torch.inf, -20.0, 20.0, torch.inf]]])
    boxes = boxes_around(extremes, torch.zeros(1, 1, 4)).sigmoid()
    expected = torch.tensor([[[1e-5, 1e-5, 1 - 1e-5, 1 - 1e-5]]])
    torch.testing.assert_close(boxes, expected, rtol=0, atol=1e-7)


def test_refined_boxes_are_the_next_anchors_without_their_gradient() -> None:
    heads, hidden = LayerHeads(WIDTH, CLASSES, 1), torch.randn(1, 3, WIDTH)
    for dimensions in (2, 4):
        start = torch.randn(1, 3, dimensions, requires_grad=True)
        boxes, anchors, places = IterativeRefinement()(heads, 0, hidden, hidden, start)
        torch.testing.assert_close(anchors, boxes)
        assert boxes.requires_grad
        assert not anchors.requires_grad
        assert not places.requires_grad


@pytest.mark.parametrize(
    ("settings", "small_heads"),
    [({}, [True]), ({"refine": True}, [True, False]), ({"refine": True, "two_stage": True}, [])],
)
def test_only_heads_that_add_to_points_start_with_small_boxes(
    settings: dict, small_heads: list[bool]
) -> None:
    config = {"name": "deformable_detr", "num_heads": 4, "decoder_layers": 2, **settings}
    detector = MODELS.build(config, CellMeans(), CellNeck(), CLASSES)
    biases = _last_biases(detector)
    expected = small_heads or [False] * len(biases)
    assert [
        bool((bias == torch.tensor([0.0, 0.0, -2.0, -2.0])).all()) for bias in biases
    ] == expected


def test_the_first_class_logit_ranks_the_proposals() -> None:
    detector, batch = build("two_stage", num_queries=3).eval(), images((48, 64))
    found = by_name(detector(batch).auxiliary)["encoder"]
    queries, _ = decoder_inputs(detector, batch, objects(1))
    best = found.logits[..., 0].topk(3).indices
    torch.testing.assert_close(
        queries.anchors.sigmoid(), found.boxes.gather(1, best[..., None].expand(-1, -1, 4))
    )
    assert not queries.anchors.requires_grad


def test_every_token_learns_whether_it_is_an_object_of_any_class() -> None:
    detector, targets = build("two_stage"), objects(2, 1)
    outputs = detector(images(*SIZES), targets)
    found = by_name(outputs.auxiliary)["encoder"]
    assert found.class_agnostic
    assert found.logits.shape == (2, 6 * 8 + 3 * 4, CLASSES)
    relabelled = targets._replace(labels=(targets.labels + 1) % CLASSES)
    first, second = (criterion()(outputs, each)["encoder/focal"] for each in (targets, relabelled))
    torch.testing.assert_close(first, second)


def test_unusable_proposals_may_be_selected_and_stay_finite() -> None:
    detector, targets = build("two_stage", num_queries=200), objects(2, 1)
    outputs = detector(images(*SIZES), targets)
    assert outputs.prediction.logits.shape == (2, 6 * 8 + 3 * 4, CLASSES)
    loss = total_loss(outputs, targets)
    loss.backward()
    assert loss.isfinite()
    assert all(each.grad.isfinite().all() for each in detector.parameters())


def test_matching_queries_do_not_see_the_denoising() -> None:
    detector, batch = build("dn").eval(), images(*SIZES)
    assert same(detector(batch).prediction, detector(batch, objects(2, 1)).prediction)


def test_the_last_channel_says_which_queries_are_denoised() -> None:
    queries, _ = decoder_inputs(build("dn"), images((48, 64)), objects(2))
    denoise, _ = queries.groups
    assert (queries.content[:, : denoise.size, -1] == 1).all()
    assert (queries.content[:, denoise.size :, -1] == 0).all()


def test_the_first_layer_does_not_scale_positions_by_content() -> None:
    detector = build("dab")
    queries, memory = decoder_inputs(detector, images((48, 64)), objects(1))
    position, other = detector.decoder.position, queries._replace(content=queries.content + 1)
    torch.testing.assert_close(position(0, queries, memory), position(0, other, memory))
    assert not torch.allclose(position(1, queries, memory), position(1, other, memory))


def test_two_stages_without_refinement_are_refused() -> None:
    with pytest.raises(ValueError, match=r"add model\.refine=true"):
        small("deformable_detr", two_stage=True)


def _last_biases(detector: Detector) -> list[Tensor]:
    """Biases of the last layer of every box head of the decoder."""
    named = detector.decoder.heads.named_parameters()
    return [bias.detach() for name, bias in named if name.endswith("layers.2.bias")]


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("deformable_detr", 1e-5),
        ("dab_deformable_detr", 1e-3),
        ("dn_deformable_detr", 1e-3),
    ],
)
def test_refinement_clamps_at_the_published_share(name: str, least: float) -> None:
    decoder = (small(name, refine=True) if name == "deformable_detr" else small(name)).decoder
    far = torch.full((1, 8, 4), -30.0)
    offsets = decoder.heads.locate(0, torch.zeros(1, 8, 32))
    boxes, _, _ = decoder.refine(decoder.heads, 0, far, torch.zeros(1, 8, 32), far)
    torch.testing.assert_close((boxes - offsets).exp(), torch.full((1, 8, 4), least))
