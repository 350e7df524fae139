"""Under autocast layers run in half precision; boxes, matching and losses do not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from small_models import CellNeck, LastCellNeck, criterion, decoder_inputs, images, objects, small

from detbox.registry import MODELS
from detbox.structures import Matches, PredictionSet, Targets

DENSE = ("detr", "conditional_detr", "dab_detr", "dn_detr")
NAMES = [name for name in MODELS.names() if "toy" not in name]


@pytest.mark.parametrize("name", NAMES)
def test_boxes_matching_and_losses_stay_in_float32(name: str) -> None:
    detector = small(name, neck=LastCellNeck if name in DENSE else CellNeck)
    losses, targets = criterion(), objects(2, 1)
    match = losses.matcher
    seen: set[torch.dtype] = set()

    def matcher(sets: Sequence[PredictionSet], targets: Targets) -> list[Matches]:
        seen.update(tensor.dtype for each in sets for tensor in (each.logits, each.boxes))
        assert not torch.is_autocast_enabled("cpu")
        return match(sets, targets)

    losses.matcher = matcher
    with torch.autocast("cpu", torch.bfloat16):
        outputs = detector(images((48, 64), (32, 48)), targets)
        terms = losses(outputs, targets)
        queries, _ = decoder_inputs(detector, images((48, 64), (32, 48)), targets)
    assert queries.anchors.dtype == torch.float32
    assert {each.logits.dtype for each in outputs.all} == {torch.bfloat16}
    assert {each.boxes.dtype for each in outputs.all} == {torch.float32}
    assert seen == {term.dtype for term in terms.values()} == {torch.float32}
    for each in outputs.all:
        usable = each.boxes[each.boxes < 1]
        rounded = usable.bfloat16() == usable
        assert rounded.float().mean() < 0.2, each.name
