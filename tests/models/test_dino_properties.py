"""What must hold for DINO whatever its weights."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detbox import losses, matchers, models  # noqa: F401  (importing registers)
from detbox.boxes import to_cxcywh
from detbox.criterion import Criterion
from detbox.models.detector import Detector
from detbox.registry import LOSSES, MATCHERS, MODELS
from detbox.structures import ImageBatch, Memory, Outputs, PredictionSet, Queries, Targets

CLASSES = 5
WIDTH = 32


class CellMeans(nn.Module):
    """A backbone whose maps are the mean pixel of each cell, so that no cell sees its neighbour."""

    channels, strides = (3, 3), (8, 16)
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Two maps of three channels."""
        return tuple(F.avg_pool2d(pixels, stride, ceil_mode=True) for stride in self.strides)


class ImageShares(nn.Module):
    """Embeds anchors as shares of the image; the paper takes shares of the padded map instead."""

    def __init__(self, embed: nn.Module) -> None:
        super().__init__()
        self.embed = embed

    def forward(self, anchors: Tensor, memory: Memory) -> Tensor:
        """(B, Q, 4) logits -> (B, Q, C)."""
        return self.embed(anchors, memory._replace(valid=torch.ones_like(memory.valid)))


class CellNeck(nn.Module):
    """A neck without norms or kernels: it keeps each cell to itself."""

    channels, strides = WIDTH, (8, 16)

    def __init__(self) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Conv2d(3, WIDTH, 1) for _ in self.strides)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Each map by its own projection."""
        return tuple(project(x) for project, x in zip(self.projections, maps, strict=True))


def build(num_queries: int = 8, **settings: float) -> Detector:
    """A small DINO whose weights are all random, also those that start at zero."""
    config = {"name": "dino", "num_queries": num_queries, "num_heads": 4, "feedforward_dim": 32}
    config |= {"encoder_layers": 1, "decoder_layers": 2, "num_denoising": 3, **settings}
    torch.manual_seed(0)
    detector = MODELS.build(config, CellMeans(), CellNeck(), CLASSES)
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return detector


def criterion() -> Criterion:
    """DINO's losses."""
    by_name = {name: LOSSES.bind({"name": name}) for name in ("focal", "l1", "giou")}
    return Criterion(
        MATCHERS.build({"name": "hungarian"}), by_name, {"focal": 1.0, "l1": 5.0, "giou": 2.0}
    )


def images(*sizes: tuple[int, int]) -> ImageBatch:
    """Random normalised images of these sizes, padded to the largest."""
    height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
    pixels = torch.zeros(len(sizes), 3, height, width)
    mask = torch.ones(len(sizes), height, width, dtype=torch.bool)
    for image, (h, w) in enumerate(sizes):
        generator = torch.Generator().manual_seed(h * w)
        pixels[image, :, :h, :w] = torch.randn(3, h, w, generator=generator)
        mask[image, :h, :w] = False
    return ImageBatch(pixels, mask)


def objects(*counts: int) -> Targets:
    """Random objects, so many per image."""
    generator = torch.Generator().manual_seed(3)
    total = sum(counts)
    corners = torch.rand(total, 2, 2, generator=generator).sort(1).values.flatten(1)
    labels = torch.randint(CLASSES, (total,), generator=generator)
    return Targets(labels, to_cxcywh(corners), counts)


def total_loss(outputs: Outputs, targets: Targets) -> Tensor:
    """The sum of all terms."""
    return torch.stack(list(criterion()(outputs, targets).values())).sum()


def decoder_inputs(detector: Detector, batch: ImageBatch, targets: Targets) -> tuple:
    """What reaches the decoder in a training pass: queries and memory."""
    seen: list[tuple[Queries, Memory]] = []
    handle = detector.decoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    detector(batch, targets)
    handle.remove()
    return seen[0]


def by_name(sets: Sequence[PredictionSet]) -> dict[str, PredictionSet]:
    """Prediction sets by their names."""
    return {each.name: each for each in sets}


def same(first: PredictionSet, second: PredictionSet, tolerance: float = 1e-5) -> bool:
    """Whether two sets predict the same."""
    return torch.allclose(first.logits, second.logits, atol=tolerance) and torch.allclose(
        first.boxes, second.boxes, atol=tolerance
    )


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
    detector.decoder.position = ImageShares(detector.decoder.position)
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
