"""Align-DETR's loss terms against its formulas, written out pair by pair in float64."""

from __future__ import annotations

import math
from collections import defaultdict

import torch
from scenes import random_boxes, random_predictions, random_targets
from torch import Tensor
from torchvision import ops

import detbox
from detbox.boxes import to_xyxy
from detbox.losses.quality import ranks
from detbox.structures import ENCODER, Matches, Origin, Outputs, PredictionSet, Targets

TARGETS = random_targets(2, 1, seed=2)
TARGETS = Targets(TARGETS.labels, 0.4 + 0.2 * TARGETS.boxes.double(), TARGETS.counts)
LAST, EARLY, DENOISE = Origin(1, "match"), Origin(0, "match"), Origin(0, "denoise")
GIVEN = Matches(torch.tensor([0, 0, 1]), torch.tensor([0, 3, 1]), torch.tensor([0, 0, 2]))
"""target 0 twice, as denoising repeats it"""
TAU, ALPHA, LEAST = 1.5, 0.25, 0.01
CRITERION = detbox.build_criterion(detbox.compose("experiment=align_dino_r50_12e"))


def predictions(origin: Origin, seed: int) -> PredictionSet:
    """Boxes that overlap the targets, and sure and unsure classes."""
    logits = random_predictions(2, 8, seed=seed).logits.double().requires_grad_()
    boxes = (0.4 + 0.2 * random_boxes(2, 8, seed=seed).double()).requires_grad_()
    return PredictionSet(origin, logits, boxes, GIVEN if origin == DENOISE else None)


def pair_terms(each: PredictionSet, matches: Matches, ranked: bool) -> dict[str, Tensor]:
    """Sums over the batch of the three losses, before weights and normalisation."""
    share = each.logits.sigmoid()
    pairs = list(zip(*(index.tolist() for index in matches), strict=True))
    quality, candidates = {}, defaultdict(list)
    for image, query, target in pairs:
        place = image, query, int(TARGETS.labels[target])
        corners = to_xyxy(torch.stack((each.boxes[image, query], TARGETS.boxes[target]))).detach()
        iou = float(ops.box_iou(corners[:1], corners[1:]))
        quality[place] = max(LEAST, float(share[place].detach()) ** ALPHA * iou ** (1 - ALPHA))
        candidates[target].append(quality[place])
    # The negatives first: every logit as background, then the positives in place of theirs.
    found: dict[str, Tensor] = {
        "class": (share**2 * -(1 - share).log()).sum(),
        "l1": share.new_zeros(()),
        "giou": share.new_zeros(()),
    }
    for image, query, target in pairs:
        place = image, query, int(TARGETS.labels[target])
        rank = sorted(candidates[target], reverse=True).index(quality[place]) if ranked else 0
        weight = math.exp(-rank / TAU)
        t, s = quality[place] * weight, share[place]
        box, truth = each.boxes[image, query], TARGETS.boxes[target]
        entropy = -t * s.log() - (1 - t) * (1 - s).log()
        found["class"] = found["class"] + entropy - s**2 * -(1 - s).log()
        found["l1"] = found["l1"] + weight * (box - truth).abs().sum()
        giou = ops.generalized_box_iou(to_xyxy(box)[None], to_xyxy(truth)[None])[0, 0]
        found["giou"] = found["giou"] + weight * (1 - giou)
    return found


def test_every_term_and_gradient_is_that_of_the_formulas() -> None:
    outputs = Outputs(
        predictions(LAST, 3),
        (predictions(EARLY, 4), predictions(DENOISE, 5), predictions(ENCODER, 6)),
    )
    terms = CRITERION(outputs, TARGETS)
    by_name = dict((each.origin, found) for each, found in CRITERION.match(outputs, TARGETS))
    assert [len(by_name[each].target) for each in (LAST, EARLY, ENCODER)] == [3, 6, 6]
    for each in outputs.all:
        expected = pair_terms(each, by_name[each.origin], ranked=each.origin != DENOISE)
        for name, weight in (("class", 1.0), ("l1", 5.0), ("giou", 2.0)):
            ours, theirs = terms[f"{each.name}/{name}"], weight * expected[name] / 3
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=0)
            leaf = each.logits if name == "class" else each.boxes
            gradients = [torch.autograd.grad(x, leaf, retain_graph=True)[0] for x in (ours, theirs)]
            torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)


def test_ranks_count_from_the_best_of_each_group() -> None:
    values = torch.tensor([0.3, 0.9, 0.6, 0.5, 0.6, 0.1])
    group = torch.tensor([4, 0, 4, 4, 0, 2])
    assert ranks(values, group).tolist() == [2, 0, 0, 1, 1, 0]
    assert ranks(values[:0], group[:0]).tolist() == []


def test_every_class_loss_takes_the_weight_of_a_pair() -> None:
    matches = Matches(torch.tensor([0, 1]), torch.tensor([2, 5]), torch.tensor([1, 2]))
    each = predictions(EARLY, 7)
    for name in ("focal", "varifocal", "ia_bce", "align", "position_supervised", "l1", "giou"):
        loss = detbox.registry.LOSSES.bind({"name": name})
        full, half = (
            loss(each._replace(pair_weights=weights), TARGETS, matches)
            for weights in (torch.ones(2), torch.tensor([1.0, 0.5]))
        )
        torch.testing.assert_close(full, loss(each, TARGETS, matches))
        assert half < full if name in ("l1", "giou") else half != full
