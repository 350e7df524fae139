"""What must hold for DETR, Conditional, DAB- and DN-DETR whatever their weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_models import (
    CLASSES,
    WIDTH,
    CellNeck,
    LastCellNeck,
    by_name,
    decoder_inputs,
    images,
    objects,
    same,
    small,
)
from small_models import criterion as focal_criterion
from torch import Tensor, nn

from detbox.criterion import Criterion
from detbox.models.dab_detr import LookForwardTwice
from detbox.models.detector import Detector
from detbox.models.heads import SharedHeads
from detbox.registry import LOSSES, MATCHERS
from detbox.structures import Outputs, PredictionSet, Targets

VARIANTS: dict[str, dict] = {
    "detr": {"name": "detr"},
    "pre_norm": {"name": "detr", "pre_norm": True},
    "conditional": {"name": "conditional_detr"},
    "dab": {"name": "dab_detr"},
    "dab_patterns": {"name": "dab_detr", "num_patterns": 3},
    "dn": {"name": "dn_detr", "denoising_groups": 3},
    "dn_patterns": {"name": "dn_detr", "denoising_groups": 3, "num_patterns": 3},
}
SIZES = (48, 64), (32, 48)
ON_ZEROS = ("decoder.layers.0.self_attention.", "decoder.layers.0.self_norm.")
"""what multiplies content that may start at zero learns nothing"""


def build(variant: str, num_queries: int = 8, **settings: Any) -> Detector:
    """A small detector of a variant, without dropout."""
    settings = {"dropout": 0.0, "neck": LastCellNeck, **VARIANTS[variant], **settings}
    return small(num_queries=num_queries, **settings)


def softmax_criterion() -> Criterion:
    """DETR's losses."""
    losses = {name: LOSSES.bind({"name": name}) for name in ("cross_entropy", "l1", "giou")}
    weights = {"cross_entropy": 1.0, "l1": 5.0, "giou": 2.0}
    return Criterion(
        MATCHERS.build({"name": "hungarian", "class_cost": "softmax"}), losses, weights
    )


def total_loss(variant: str, outputs: Outputs, targets: Targets) -> Tensor:
    """The sum of all terms of the paper's losses."""
    softmax = VARIANTS[variant]["name"] == "detr"
    criterion = softmax_criterion() if softmax else focal_criterion()
    return torch.stack(list(criterion(outputs, targets).values())).sum()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("counts", [(2, 1), (3, 0), (0, 0)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_gets_a_finite_gradient(
    variant: str, counts: tuple[int, int], precision: torch.dtype
) -> None:
    detector, targets = build(variant), objects(*counts)
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        loss = total_loss(variant, detector(images(*SIZES), targets), targets)
    loss.backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any() or not any(counts) or name.startswith(ON_ZEROS), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_padding_an_image_leaves_its_detections_unchanged(variant: str) -> None:
    detector = build(variant).eval()
    alone, padded = (detector(images(*sizes)) for sizes in ([(32, 48)], [(32, 48), (64, 80)]))
    torch.testing.assert_close(alone.prediction.logits[0], padded.prediction.logits[0])
    torch.testing.assert_close(alone.prediction.boxes[0], padded.prediction.boxes[0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_the_padding_holds_is_never_seen(variant: str) -> None:
    detector, batch = build(variant).eval(), images((32, 48), (64, 80))
    noise = torch.where(batch.mask[:, None], torch.randn_like(batch.pixels), batch.pixels)
    assert same(detector(batch).prediction, detector(batch._replace(pixels=noise)).prediction)


def test_a_decoder_that_attends_to_padding_sees_it() -> None:
    detector, batch = (
        build("conditional", attend_to_padding=True).eval(),
        images((32, 48), (64, 80)),
    )
    noise = torch.where(batch.mask[:, None], torch.randn_like(batch.pixels), batch.pixels)
    assert not same(detector(batch).prediction, detector(batch._replace(pixels=noise)).prediction)


@pytest.mark.parametrize("variant", VARIANTS)
def test_permuting_targets_leaves_the_loss_unchanged(variant: str) -> None:
    noiseless: dict[str, Any] = (
        {"label_noise": 0.0, "box_noise": 0.0} if variant.startswith("dn") else {}
    )
    detector, batch, targets = build(variant, **noiseless), images(*SIZES), objects(4, 3)
    order = torch.tensor([2, 0, 3, 1, 6, 4, 5])
    permuted = Targets(targets.labels[order], targets.boxes[order], targets.counts)
    first, second = (
        total_loss(variant, detector(batch, each), each) for each in (targets, permuted)
    )
    torch.testing.assert_close(first, second, rtol=1e-5, atol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_several_levels_are_refused(variant: str) -> None:
    with pytest.raises(ValueError, match=r"reads one feature level.*try neck=projection"):
        build(variant, neck=CellNeck)


@pytest.mark.parametrize("variant", ["detr", "pre_norm"])
def test_softmax_heads_tell_one_class_more(variant: str) -> None:
    assert build(variant)(images(*SIZES)).prediction.logits.shape == (2, 8, CLASSES + 1)


@pytest.mark.parametrize("variant", ["dab_patterns", "dn_patterns"])
def test_every_anchor_is_combined_with_every_pattern(variant: str) -> None:
    queries, _ = decoder_inputs(build(variant), images((48, 64)), objects(0))
    content, anchors = (each[0, -24:].unflatten(0, (3, 8)) for each in queries[:2])
    torch.testing.assert_close(anchors, anchors[:1].expand(3, -1, -1))
    torch.testing.assert_close(content, content[:, :1].expand(-1, 8, -1))
    assert not torch.allclose(content[0], content[1])


def test_pre_norm_blocks_add_to_tokens_that_no_norm_has_touched() -> None:
    detector = build("pre_norm")
    for block in ("attention_norm", "feed_forward.norm"):
        norm = detector.encoder.layers[0].get_submodule(block)
        nn.init.zeros_(norm.weight)
        nn.init.zeros_(norm.bias)
    nn.init.zeros_(detector.encoder.layers[0].attention.in_proj_bias)
    for linear in (detector.encoder.layers[0].attention.out_proj, *_linears(detector)):
        nn.init.zeros_(linear.bias)
    seen: list[Tensor] = []
    detector.encoder.norm.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    detector(batch := images((48, 64)))
    (projected,) = detector.neck(detector.backbone(batch.pixels))
    torch.testing.assert_close(seen[0], projected.flatten(2).mT)


def _linears(detector: Detector) -> tuple[nn.Linear, nn.Linear]:
    feed_forward = detector.encoder.layers[0].feed_forward
    return feed_forward.linear1, feed_forward.linear2


@pytest.mark.parametrize("variant", ["conditional", "dab"])
def test_the_first_layer_does_not_scale_places_by_content(variant: str) -> None:
    detector = build(variant)
    queries, memory = decoder_inputs(detector, images((48, 64)), objects(1))
    position = detector.decoder.position
    if variant == "dab":
        for layer in position.size.linears:  # width and height follow the content in all layers
            nn.init.zeros_(layer.weight)
    other = queries._replace(content=queries.content + 1)
    torch.testing.assert_close(position(0, queries, memory), position(0, other, memory))
    assert not torch.allclose(position(1, queries, memory).sine, position(1, other, memory).sine)


def test_wider_anchors_look_less_sharply_along_their_width() -> None:
    detector = build("dab")
    queries, memory = decoder_inputs(detector, images((48, 64)), objects(1))
    wide = queries._replace(anchors=queries.anchors + torch.tensor([0.0, 0, 2, 0]))
    before, after = (detector.decoder.position(0, each, memory).sine for each in (queries, wide))
    y, x = zip(before.chunk(2, -1), after.chunk(2, -1), strict=True)
    torch.testing.assert_close(*y)
    ratio = wide.anchors.sigmoid()[..., 2:3] / queries.anchors.sigmoid()[..., 2:3]
    torch.testing.assert_close(x[0], x[1] * ratio)


def test_anchors_learn_from_the_next_layer_only() -> None:
    heads, hidden = SharedHeads(WIDTH, CLASSES), torch.randn(1, 3, WIDTH)
    nn.init.normal_(heads.box_head.linears[-1].weight)
    first = torch.randn(1, 3, WIDTH, requires_grad=True)
    second = torch.randn(1, 3, WIDTH, requires_grad=True)
    learnt = torch.randn(1, 3, 4, requires_grad=True)
    refine = LookForwardTwice()
    one = refine(heads, 0, first, hidden, learnt)
    two = refine(heads, 1, second, hidden, one.anchors)
    three = refine(heads, 2, hidden, hidden, two.anchors)
    assert not one.places.requires_grad
    assert torch.autograd.grad(two.boxes.sum(), first, retain_graph=True)[0].any()
    assert torch.autograd.grad(two.boxes.sum(), learnt, retain_graph=True)[0].any()
    assert torch.autograd.grad(three.boxes.sum(), second, retain_graph=True)[0].any()
    for distant in torch.autograd.grad(three.boxes.sum(), (first, learnt), allow_unused=True):
        assert distant is None


def test_denoising_groups_cannot_see_each_other() -> None:
    detector, targets = build("dn").eval(), objects(2, 1)
    queries, memory = decoder_inputs(detector, images(*SIZES), targets)
    content = queries.content.clone()
    content[:, :2] += 1.0
    before = by_name(detector.decoder(queries, memory))
    after = by_name(detector.decoder(queries._replace(content=content), memory))
    denoised = before["decoder1/denoise"].logits, after["decoder1/denoise"].logits
    assert not torch.allclose(denoised[0][:, :2], denoised[1][:, :2])
    torch.testing.assert_close(denoised[0][:, 2:], denoised[1][:, 2:])
    assert same(before["decoder1/match"], after["decoder1/match"])


@pytest.mark.parametrize("variant", ["dn", "dn_patterns"])
def test_matching_queries_do_not_see_the_denoising(variant: str) -> None:
    detector, batch = build(variant).eval(), images(*SIZES)
    assert same(detector(batch).prediction, detector(batch, objects(2, 1)).prediction)


def test_without_noise_denoising_queries_are_the_targets() -> None:
    detector, targets = build("dn", label_noise=0.0, box_noise=0.0), objects(2, 1)
    queries, _ = decoder_inputs(detector, images(*SIZES), targets)
    matches = queries.groups[0].matches
    place = matches.image, matches.query
    content, anchors = queries.content[place], queries.anchors[place].sigmoid()
    table = detector.denoiser.label_table.weight
    torch.testing.assert_close(content[:, :-1], table[targets.labels[matches.target]])
    torch.testing.assert_close(anchors, targets.boxes[matches.target], atol=2e-5, rtol=1e-5)
    assert (content[:, -1] == 1).all()
    assert (queries.content[:, -8:, -1] == 0).all()


def test_noise_stays_within_its_bounds() -> None:
    detector = build("dn", box_noise=0.4)
    box, shift = torch.tensor([[0.5, 0.5, 0.2, 0.4]]), torch.tensor([[0.0, 1.0, 0.0, 1.0]])
    noised = detector.denoiser.noised(box, shift)
    torch.testing.assert_close(noised, torch.tensor([[0.46, 0.58, 0.12, 0.56]]))
    middle = detector.denoiser.noised(box, torch.full((1, 4), 0.5))
    torch.testing.assert_close(middle, box)


def test_empty_slots_are_not_learnt_as_background() -> None:
    detector, targets = build("dn"), objects(3, 1)
    outputs = detector(images(*SIZES), targets)
    total = focal_criterion()(outputs, targets)["decoder0/denoise/focal"]
    sets = by_name(outputs.auxiliary)["decoder0/denoise"]
    changed = sets.logits.clone()
    empty = torch.ones(sets.logits.shape[:2], dtype=torch.bool)
    empty[sets.matches.image, sets.matches.query] = False
    changed[empty] += 5.0
    assert empty.any()
    again = _denoising_focal(sets._replace(logits=changed), targets)
    torch.testing.assert_close(again, total)


def test_without_objects_the_denoising_loss_is_zero() -> None:
    detector, targets = build("dn"), objects(0, 0)
    terms = focal_criterion()(detector(images(*SIZES), targets), targets)
    assert all(value.item() == 0 for name, value in terms.items() if "denoise" in name)
    assert any("denoise" in name for name in terms)


def test_no_denoising_group_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one group, got 0"):
        build("dn", denoising_groups=0)


def _denoising_focal(predictions: PredictionSet, targets: Targets) -> Tensor:
    return focal_criterion()(Outputs(predictions, ()), targets)["decoder0/denoise/focal"]
