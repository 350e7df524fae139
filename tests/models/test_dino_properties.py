"""What must hold for DINO whatever its weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_models import (
    CLASSES,
    by_name,
    criterion,
    decoder_inputs,
    images,
    objects,
    same,
    small,
    total_loss,
)
from torch import Tensor, nn

from detbox.models.detector import Detector
from detbox.structures import Memory, Queries, Targets


class ImageShares(nn.Module):
    """Embeds anchors as shares of the image; the paper takes shares of the padded map instead."""

    def __init__(self, embed: nn.Module) -> None:
        super().__init__()
        self.embed = embed

    def forward(self, layer: int, queries: Queries, memory: Memory) -> Tensor:
        """Anchors (B, Q, 4) -> (B, Q, C)."""
        return self.embed(layer, queries, memory._replace(valid=torch.ones_like(memory.valid)))


def build(num_queries: int = 8, **settings: Any) -> Detector:
    """A small DINO."""
    return small("dino", num_queries, **{"num_denoising": 3, **settings})


def test_permuting_targets_leaves_the_loss_unchanged() -> None:
    # Without noise: the draws belong to slots, and permuted targets change slots.
    detector, batch = build(label_noise=0.0, box_noise=0.0), images((48, 64), (32, 48))
    targets = objects(4, 3)
    order = torch.tensor([2, 0, 3, 1, 6, 4, 5])
    permuted = Targets(targets.labels[order], targets.boxes[order], targets.counts)
    first = total_loss(detector(batch, targets), targets)
    second = total_loss(detector(batch, permuted), permuted)
    torch.testing.assert_close(first, second, rtol=1e-5, atol=0)


def test_padding_an_image_leaves_its_tokens_and_proposals_unchanged() -> None:
    # So few queries that none starts from a padded token, which is allowed to win.
    detector = build(num_queries=4).eval()
    alone = detector(images((32, 48)))
    padded = detector(images((32, 48), (64, 80)))
    encoder = by_name(alone.auxiliary)["encoder"], by_name(padded.auxiliary)["encoder"]
    torch.testing.assert_close(encoder[0].logits[0], encoder[1].logits[0])
    torch.testing.assert_close(encoder[0].boxes[0], encoder[1].boxes[0])


def test_padding_an_image_leaves_its_detections_unchanged() -> None:
    detector = build(num_queries=4).eval()
    detector.decoder.position = ImageShares(detector.decoder.get_submodule("position"))
    alone, padded = (detector(images(*sizes)) for sizes in ([(32, 48)], [(32, 48), (64, 80)]))
    torch.testing.assert_close(alone.prediction.logits[0], padded.prediction.logits[0])
    torch.testing.assert_close(alone.prediction.boxes[0], padded.prediction.boxes[0])


def test_what_the_padding_holds_is_never_seen() -> None:
    detector, batch = build().eval(), images((32, 48), (64, 80))
    noise = torch.where(batch.mask[:, None], torch.randn_like(batch.pixels), batch.pixels)
    assert same(detector(batch).prediction, detector(batch._replace(pixels=noise)).prediction)


def test_denoising_groups_cannot_see_each_other() -> None:
    detector, targets = build().eval(), objects(2, 1)
    queries, memory = decoder_inputs(detector, images((48, 64), (32, 48)), targets)
    size = 2 * max(targets.counts)
    content = queries.content.clone()
    content[:, :size] += 1.0
    before = by_name(detector.decoder(queries, memory))
    after = by_name(detector.decoder(queries._replace(content=content), memory))
    denoised = before["decoder1/denoise"].logits, after["decoder1/denoise"].logits
    assert denoised[0].shape[1] > size
    assert not torch.allclose(denoised[0][:, :size], denoised[1][:, :size])
    torch.testing.assert_close(denoised[0][:, size:], denoised[1][:, size:])
    assert same(before["decoder1/match"], after["decoder1/match"])


def test_matching_queries_do_not_see_the_denoising() -> None:
    detector, batch = build().eval(), images((48, 64), (32, 48))
    assert same(detector(batch).prediction, detector(batch, objects(2, 1)).prediction)


def test_denoising_queries_see_the_matching_ones() -> None:
    detector = build().eval()
    queries, memory = decoder_inputs(detector, images((48, 64)), objects(2))
    content = queries.content.clone()
    content[:, -8:] += 1.0
    before = by_name(detector.decoder(queries, memory))["decoder1/denoise"]
    after = by_name(detector.decoder(queries._replace(content=content), memory))
    assert not same(before, after["decoder1/denoise"], tolerance=1e-3)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("counts", [(2, 1), (3, 0), (0, 0)])
def test_every_parameter_gets_a_gradient(counts: tuple[int, int], precision: torch.dtype) -> None:
    detector, targets = build(), objects(*counts)
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        outputs = detector(images((48, 64), (32, 48)), targets)
        loss = total_loss(outputs, targets)
    loss.backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any() or not any(counts), name


def test_an_empty_batch_adds_nothing_to_the_denoising_loss() -> None:
    detector, targets = build(), objects(0, 0)
    terms = criterion()(detector(images((48, 64), (32, 48)), targets), targets)
    assert all(value.item() == 0 for name, value in terms.items() if "denoise" in name)
    assert any("denoise" in name for name in terms)


def test_fewer_tokens_than_queries_makes_fewer_predictions() -> None:
    detector, targets = build(num_queries=200), objects(2)
    outputs = detector(images((32, 48)), targets)
    assert outputs.prediction.logits.shape == (1, 4 * 6 + 2 * 3, CLASSES)
    total_loss(outputs, targets).backward()


def test_more_objects_than_queries_still_trains() -> None:
    detector, targets = build(), objects(20, 1)
    loss = total_loss(detector(images((48, 64), (32, 48)), targets), targets)
    loss.backward()
    assert loss.isfinite()
