"""Parameters and multiply-adds of a detector, by part.

python tools/benchmark_model.py model=dino backbone=resnet50

Counts one image without padding in evaluation mode, with `torch.utils.flop_counter` on the meta
device: convolutions, linear layers and matrix products, one multiply-add as one operation, as
detection papers do. The samples of deformable attention (four corners and a weight per point and
channel) are outside that count and stated beside it; norms and activations are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from detbox.build import build_detector, compose
from detbox.layers.deformable_attention import DeformableAttention
from detbox.models.detector import Detector
from detbox.structures import ImageBatch

PAPER = "DINO with resnet50: 47 M parameters and 279 G (Zhang et al., ICLR 2023, table 1)"
PER_SAMPLE = 5
"""multiply-adds per sampled point and channel: four corners, one attention weight"""


@dataclass(frozen=True)
class Figures:
    """What one detector costs."""

    parameters: int
    trainable: int
    parts: dict[str, float]
    """multiply-adds by part of the detector"""
    sampling: float
    """multiply-adds of deformable sampling, in no part"""

    @property
    def total(self) -> float:
        """Multiply-adds of all parts, without the sampling."""
        return sum(self.parts.values())


def measure(overrides: list[str], height: int, width: int, num_classes: int) -> Figures:
    """Build the configured detector without weights and count one forward pass."""
    with torch.device("meta"):
        detector = build_detector(compose(*overrides, "backbone.pretrained=false"), num_classes)
        pixels = torch.zeros(1, 3, height, width)
        images = ImageBatch(pixels, torch.zeros(1, height, width, dtype=torch.bool))
    sizes = [(each.numel(), each.requires_grad) for each in detector.parameters()]
    parts, sampling = _count(detector.eval().requires_grad_(False), images)
    trained = sum(size for size, trainable in sizes if trainable)
    return Figures(sum(size for size, _ in sizes), trained, parts, sampling)


def _count(detector: Detector, images: ImageBatch) -> tuple[dict[str, float], float]:
    with FlopCounterMode(display=False) as counter, _counted_samples(detector) as samples:
        detector(images)
    counts = counter.get_flop_counts()
    named = ((name, counts.get(f"Detector.{name}", {})) for name, _ in detector.named_children())
    # The counter takes a multiply-add for two operations.
    parts = {name: sum(each.values()) / 2 for name, each in named if each}
    return parts, float(sum(samples) * PER_SAMPLE)


@contextmanager
def _counted_samples(detector: Detector) -> Iterator[list[int]]:
    """Collect how many points times channels each deformable attention samples."""
    samples: list[int] = []

    def count(module: DeformableAttention, inputs: tuple[Any, ...], output: Tensor) -> None:
        samples.append(output.numel() * module.num_levels * module.num_points)

    found = [each for each in detector.modules() if isinstance(each, DeformableAttention)]
    handles = [each.register_forward_hook(count) for each in found]
    yield samples
    for handle in handles:
        handle.remove()


def main() -> None:
    """Print the figures of the detector that the command line describes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", nargs=2, type=int, default=(800, 1333), metavar=("H", "W"))
    parser.add_argument("--classes", type=int, default=91, help="91, as the official COCO models")
    parser.add_argument("overrides", nargs="*", help="such as model=dino backbone=resnet50")
    arguments = parser.parse_args()
    height, width = arguments.size
    figures = measure(arguments.overrides, height, width, arguments.classes)
    parameters, trained = figures.parameters / 1e6, figures.trainable / 1e6
    print(f"parameters     {parameters:8.1f} M, {trained:.1f} M trained")
    print(f"multiply-adds  {figures.total / 1e9:8.1f} G at {height} x {width}, one image")
    for name, count in figures.parts.items():
        print(f"  {name:12s} {count / 1e9:8.1f} G")
    print(f"  sampling     {figures.sampling / 1e9:8.1f} G, not in the sum")
    print(f"counted: convolutions, linear layers and matrix products; the paper's table: {PAPER}")


if __name__ == "__main__":
    main()
