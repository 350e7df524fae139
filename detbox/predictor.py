"""A trained detector, ready to be shown pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from detbox.boxes import clipped
from detbox.build import build_dataset, build_detector, build_postprocess
from detbox.data.images import (
    AUTOMATIC,
    ImageLike,
    LeastSize,
    Picture,
    Reading,
    read,
)
from detbox.data.sources import refuse_address
from detbox.data.transforms import Display
from detbox.data.troubles import FileTroubles
from detbox.errors import SettingError
from detbox.padding import stacked
from detbox.postprocess import Postprocess, select
from detbox.ranges import Range, check_range
from detbox.runfile import RunCheckpoint
from detbox.structures import Detections, ImageBatch, LabelSpace

SHARE = Range(0, 1)


class Predictor:
    """A detector with its classes and its way to resize; `load` makes one from a checkpoint.

    Args:
        detector: (ImageBatch, None) -> Outputs; moved to `device` and into evaluation mode.
        postprocess: (PredictionSet, sizes) -> detections.
        label_space: names of the classes.
        display: how pictures are shown in evaluation.
        device: where the detector runs.
        reading: how sources become pictures; as in training.
    """

    def __init__(
        self,
        detector: nn.Module,
        postprocess: Postprocess,
        label_space: LabelSpace,
        display: Display,
        device: torch.device,
        reading: Reading = AUTOMATIC,
    ) -> None:
        self.detector = detector.to(device).eval()
        self.postprocess = postprocess
        self.label_space = label_space
        self.display = display
        self.device = device
        self.reading = reading
        self.troubles = FileTroubles("predict")

    @property
    def names(self) -> tuple[str, ...]:
        """Class names, by label."""
        return self.label_space.names

    def predict(
        self,
        source: ImageLike | Sequence[ImageLike],
        *,
        batch_size: int = 4,
        threshold: float = 0.0,
        clip: bool = True,
    ) -> list[Detections]:
        """Find the objects of one picture or of several.

        Args:
            source: a path, a Pillow image, an RGB array (H, W, 3), or a list of those; arrays and
                images of more than 8 bits are scaled as their files would be.
            batch_size: pictures that go through the detector at once.
            threshold: lowest score of a detection.
            clip: cut boxes off at the edges of the picture; False: as the detector gives them.

        Returns:
            One `Detections` per picture, also for a single one, with class names, on the CPU.

        Raises:
            UnreadableImageError: a file is missing or broken.
            SettingError: a threshold outside 0 to 1, no picture at once, or an address.
        """
        check_range("threshold", threshold, SHARE)
        check_range("batch_size", batch_size, Range(1))
        sources = [source] if isinstance(source, (str, Path, Image.Image, np.ndarray)) else source
        found: list[Detections] = []
        for start in range(0, len(sources), batch_size):
            batch = [
                self.read(each, self.display.size) for each in sources[start : start + batch_size]
            ]
            found.extend(self.detect(batch, threshold, clip))
        self.troubles.report()
        return found

    def read(self, source: ImageLike, least: LeastSize | None = None) -> Picture:
        """A picture; each kind of trouble is told once.

        Args:
            source: as `predict` takes it.
            least: what will be seen of it; None: all.

        Raises:
            UnreadableImageError: a file is missing or broken.
            SettingError: an address.
        """
        refuse_address(source)
        picture = read(source, self.reading, least)
        name = str(source) if isinstance(source, (str, Path)) else type(source).__name__
        for trouble in picture.troubles:
            self.troubles.add(trouble, name)
        return picture

    @torch.no_grad()
    def detect(
        self, pictures: Sequence[Picture], threshold: float = 0.0, clip: bool = True
    ) -> list[Detections]:
        """Find the objects of one batch of pictures, in pixels of their files."""
        shown = stacked([self.display.pixels(each.pixels, each.size) for each in pictures])
        images = ImageBatch(*(tensor.to(self.device) for tensor in shown))
        sizes = torch.tensor([picture.size for picture in pictures], device=self.device)
        found = self.postprocess(self.detector(images, None).prediction, sizes)
        if clip:
            edges = zip(found, pictures, strict=True)
            found = [each._replace(boxes=clipped(each.boxes, at.size)) for each, at in edges]
        return [self._finish(detections, threshold) for detections in found]

    def _finish(self, detections: Detections, threshold: float) -> Detections:
        kept = select(detections, detections.scores >= threshold)
        names = tuple(self.names[label] for label in kept.labels.tolist())
        return Detections(kept.boxes.cpu(), kept.scores.cpu(), kept.labels.cpu(), names)


def load(checkpoint: str | Path, device: str | torch.device = "auto") -> Predictor:
    """A predictor from a checkpoint that training wrote.

    Args:
        checkpoint: a `.ckpt` file or a run folder; nothing in it is executed.
        device: `auto` takes CUDA, else Apple's MPS, else the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no detbox checkpoint, or its tensors do not fit its configuration.
    """
    run = RunCheckpoint.read(checkpoint)
    cfg = run.recipe
    detector = build_detector(cfg, len(run.label_space))
    run.fill(detector)
    data = build_dataset(cfg)
    postprocess, where = build_postprocess(cfg), device_of(device)
    return Predictor(detector, postprocess, run.label_space, data.display, where, data.reading)


def device_of(name: str | torch.device) -> torch.device:
    """A device by name; `auto` takes CUDA, else Apple's MPS, else the CPU.

    Raises:
        SettingError: torch sees none of that kind.
    """
    return _best_device() if name == "auto" else _checked_device(str(name))


def _checked_device(name: str) -> torch.device:
    kinds = {"cpu": True, "cuda": torch.cuda.is_available()}
    kinds["mps"] = torch.backends.mps.is_available()
    if not kinds.get(name.partition(":")[0], False):
        available = ", ".join(kind for kind, there in kinds.items() if there)
        raise SettingError(f"device={name}: torch sees none here; choose auto or {available}")
    return torch.device(name)


def _best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
