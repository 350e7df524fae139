"""A trained detector, ready to be shown pictures."""

from __future__ import annotations

import glob
import json
import logging
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from rich import get_console
from rich.progress import track
from torch import Tensor, nn

from detbox.boxes import clipped
from detbox.build import build_dataset, build_detector, build_postprocess
from detbox.data.images import (
    AUTOMATIC,
    ImageLike,
    LeastSize,
    Picture,
    Reading,
    UnreadableImageError,
    read,
)
from detbox.data.transforms import Display
from detbox.data.troubles import FileTroubles
from detbox.errors import DataError, MissingFileError, SettingError
from detbox.evaluation.drawing import draw
from detbox.evaluation.fonts import legible
from detbox.evaluation.threshold import advice
from detbox.messages import counted, some
from detbox.padding import stacked
from detbox.places import located, unique_names
from detbox.postprocess import Postprocess, select
from detbox.ranges import Range, check_range
from detbox.runfile import RunCheckpoint
from detbox.structures import Detections, ImageBatch, LabelSpace

logger = logging.getLogger("detbox")

LEGIBLE_SIDE = 512
"""pixels; of a picture by itself"""
ADDRESS = re.compile(r"(https?|ftp|s3|gs|file):/{1,3}", re.IGNORECASE)
"""also with the slash that `Path` takes away"""
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
    where = _best_device() if device == "auto" else _checked_device(str(device))
    postprocess = build_postprocess(cfg)
    return Predictor(detector, postprocess, run.label_space, data.display, where, data.reading)


class Written(NamedTuple):
    """What `predict_to_folder` left behind."""

    predictions: Path
    """the JSON file"""
    pictures: tuple[Path, ...]
    skipped: int
    """files that could not be read"""


def find_images(source: str | Path) -> list[Path]:
    """The pictures that a file, a folder or a glob pattern stands for, sorted.

    Other files in a folder or behind a pattern are left out; the log names and counts them.

    Raises:
        FileNotFoundError: there is nothing of that name.
        ValueError: there are files, but no pictures; or it is an address.
    """
    refuse_address(source)
    path = located(source)
    if path.is_file():
        return [path]
    matches = (
        path.iterdir() if path.is_dir() else map(Path, glob.glob(_pattern(path), recursive=True))
    )
    files = sorted(match for match in matches if match.is_file())
    if not files and not path.is_dir():
        raise MissingFileError(f"no file, folder or match for {source}; quote a pattern's stars")
    images = [file for file in files if file.suffix.lower() in _image_suffixes()]
    if not images:
        raise DataError(
            f"{source} holds {counted(len(files), 'file')} but no image; give FILE, FOLDER, GLOB"
        )
    others = [file.name for file in files if file.suffix.lower() not in _image_suffixes()]
    if others:
        told = "file is no image" if len(others) == 1 else "files are no images"
        logger.warning("%d %s: %s", len(others), told, some(others))
    return images


def refuse_address(source: object) -> None:
    """Refuse an address of the web where a file is read.

    Raises:
        SettingError: says how to fetch it.
    """
    text = str(source) if isinstance(source, (str, Path)) else ""
    if ADDRESS.match(text):
        address = ADDRESS.sub(r"\1://", text)
        raise SettingError(
            f"{address} is an address, and pictures are read from files, arrays or Pillow images; "
            f"fetch it first, curl -LO {shlex.quote(address)}, and give the file"
        )


def _pattern(path: Path) -> str:
    """A glob pattern whose leading folders, as far as they are there, are taken literally."""
    there = next((each for each in path.parents if os.path.isdir(each)), Path())
    return os.path.join(glob.escape(str(there)), str(path.relative_to(there)))


def predict_to_folder(
    predictor: Predictor, sources: Sequence[Path], folder: Path, threshold: float = 0.3
) -> Written:
    """Draw what is found in each picture, and write all of it to `folder/predictions.json`.

    The JSON holds `images` (file, drawn picture, height, width and detections with name,
    category_id, score and box as xyxy pixels) and `skipped` (file, reason). Small pictures are
    drawn enlarged; the boxes in the JSON are always those of the original, cut off at its edges.
    Where nothing reaches the threshold, a line says in how many pictures, and what to try.

    Raises:
        ValueError: not one picture could be read, or a source lies in `folder`.
    """
    if any(source.resolve().parent == folder.resolve() for source in sources):
        raise SettingError(f"pictures would be written among their sources; not into {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    pictures: list[Path] = []
    best: list[float] = []
    targets, names = unique_names(sources, ".jpg"), legible(predictor.label_space)
    progress = track(sources, "predict", transient=True, disable=not get_console().is_terminal)
    for source, name in zip(progress, targets, strict=True):
        try:
            picture = predictor.read(source)
        except UnreadableImageError as error:
            skipped.append({"file": str(source), "reason": str(error)})
            continue
        pixels = picture.pixels
        (found,) = predictor.detect([picture])
        best.append(float(found.scores.max()) if len(found.scores) else 0.0)
        found = select(found, found.scores >= threshold)
        drawn = draw(pixels, found, names, threshold=threshold, legible_side=LEGIBLE_SIDE)
        drawn.save(folder / name, quality=95, subsampling=0)
        pictures.append(folder / name)
        images.append(_entry(source, name, pixels, found, predictor.label_space))
    predictor.troubles.report()
    written = Written(folder / "predictions.json", tuple(pictures), len(skipped))
    content = json.dumps({"images": images, "skipped": skipped}, indent=1, ensure_ascii=False)
    # JSON escapes what UTF-8 cannot hold, such as a file name of another encoding, in this way too.
    written.predictions.write_text(content, encoding="utf-8", errors="backslashreplace")
    if skipped:
        files = [entry["file"] for entry in skipped]
        told = counted(len(files), "image")
        logger.warning("%s could not be read: %s", told, some(files))
    if not images:
        told = f"none of {counted(len(skipped), 'image')} could be read"
        raise DataError(f"{told}; see {written.predictions}")
    if line := advice(best, threshold):
        logger.info("%s", line)
    return written


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


def _entry(
    source: Path, name: str, pixels: Tensor, found: Detections, space: LabelSpace
) -> dict[str, Any]:
    """One picture of `predictions.json`."""
    rows = zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
    detections = [
        {
            "name": space.names[label],
            "category_id": space.category_ids[label],
            "score": round(score, 6),
            "box": [round(side, 2) for side in box],
        }
        for label, score, box in rows
    ]
    height, width = pixels.shape[-2:]
    place = {"file": str(source), "picture": name, "height": height, "width": width}
    return {**place, "detections": detections}


def _image_suffixes() -> set[str]:
    """Of the formats that Pillow can open."""
    extensions = Image.registered_extensions()
    return {suffix for suffix, kind in extensions.items() if kind in Image.OPEN}
