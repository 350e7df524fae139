"""The pictures with the most mistakes, truth beside detections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from detbox.annotations.split import Split, corners
from detbox.boxes import box_scale
from detbox.evaluation.drawing import contact_sheet, draw
from detbox.evaluation.fonts import legible
from detbox.evaluation.mistakes import Mistakes, Wrong, worst
from detbox.evaluation.tables import write_csv
from detbox.structures import Detections

LEGIBLE_SIDE = 320
"""pixels; smaller pictures are enlarged"""
HEADER = ("picture", "image_id", "file", "missed", "false")

Pictures = Callable[[Sequence[int]], Iterable[Tensor]]
"""positions in the split -> (3, h, w) uint8 of each"""


def write_worst(
    folder: Path, of: Mistakes, split: Split, count: int, pictures: Pictures
) -> list[Path]:
    """Write `worst.csv` and a picture of each: truth on the left, what is found on the right.

    Missed objects are dashed on the right. What an earlier validation wrote there is replaced; a
    run without mistakes has no such folder.

    Args:
        folder: of these pictures alone.
        of: the detections at a threshold.
        split: that they are of.
        count: how many pictures.
        pictures: reads them.
    """
    for old in folder.glob("[0-9]*_image_*.jpg"):
        old.unlink()
    (folder / "worst.csv").unlink(missing_ok=True)
    every = worst(of, count)
    place = {image_id: index for index, image_id in enumerate(split.image_ids.tolist())}
    indices = [place[each.image_id] for each in every]
    files = [folder / _name(rank, each) for rank, each in enumerate(every, 1)]
    rows = [
        (path.name, each.image_id, split.names[index], each.missed, each.false)
        for path, each, index in zip(files, every, indices, strict=True)
    ]
    if not rows:
        return []
    write_csv(folder / "worst.csv", HEADER, rows)
    names = legible(split.label_space)
    for path, index, pixels in zip(files, indices, pictures(indices), strict=True):
        there, found, missed = _boxes(of, split, index, pixels)
        sides = [
            draw(pixels, some, names, threshold=0.0, truth=truth, legible_side=LEGIBLE_SIDE)
            for some, truth in ((_none(), there), (found, missed))
        ]
        contact_sheet(sides, columns=2).save(path, quality=90)
    return [folder / "worst.csv", *files]


def _name(rank: int, each: Wrong) -> str:
    return f"{rank:02d}_image_{each.image_id}_missed_{each.missed}_false_{each.false}.jpg"


def _boxes(of: Mistakes, split: Split, index: int, pixels: Tensor) -> Iterator[Detections]:
    """Objects, detections and missed objects of an image, in pixels of the picture."""
    image_id = int(split.image_ids[index])
    size = torch.tensor(pixels.shape[-2:])
    scale = (box_scale(size) / box_scale(torch.tensor(split.size(index)))).numpy()
    truth, found = of.truth, of.found
    shown = found.images == image_id
    objects = (truth.images == image_id) & ~truth.crowd
    labels = {category: label for label, category in enumerate(split.label_space.category_ids)}
    for columns, own in ((truth, objects), (found, shown), (truth, objects & of.missed)):
        scores = found.scores[own] if columns is found else np.ones(own.sum())
        yield Detections(
            torch.from_numpy(corners(columns.boxes[own]) * scale),
            torch.from_numpy(scores),
            torch.tensor([labels[each] for each in columns.categories[own].tolist()]).long(),
        )


def _none() -> Detections:
    return Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long())
