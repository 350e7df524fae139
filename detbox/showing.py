"""Contact sheets of a training split: as annotated, as augmented, by class and by size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from detbox.annotations.split import Split, corners
from detbox.data.dataset import DataSet
from detbox.data.images import Reading, UnreadableImageError, decode
from detbox.data.samples import TrainingSet
from detbox.data.transforms import resized_to, view
from detbox.errors import DataError
from detbox.evaluation.canvas import LIGHT, Canvas
from detbox.evaluation.drawing import color_of, contact_sheet
from detbox.evaluation.fonts import legible
from detbox.picturing import annotated, read_small, shown_scale, viewed
from detbox.places import unique_names

SIDE = 480
"""pixels of a picture in a sheet"""
CELL = 160
"""pixels of an object with what is around it"""
AROUND = 2.0
"""times the longer side of an object that is shown of its picture"""
LEAST = 24
"""pixels of the file that are shown at least"""
COLUMNS = 4
EDGES = (0, 8, 16, 32, 96)
"""pixels of the shown picture; below 8 is less than a cell of the finest level"""
QUALITY = 88


class Shown:
    """What is drawn of a split.

    Args:
        split: any.
        dataset: that it is of.
        count: pictures, or objects of a class or of a size.
    """

    def __init__(self, split: Split, dataset: DataSet, count: int) -> None:
        self.split, self.dataset, self.count = split, dataset, count
        self.names = legible(split.label_space)

    def pictures(self, file: Path) -> int:
        """Pictures from the first to the last, with all of their objects; gives their number."""
        split, reading = self.split, self.dataset.reading
        found = ((at, read_small(split, at, reading, SIDE)) for at in _spread(split, self.count))
        drawn = [
            annotated(pixels, split, at, self.names, range(*split.starts[at : at + 2].tolist()))
            for at, pixels in found
            if pixels is not None
        ]
        if not drawn:
            raise DataError(
                f"none of {self.count} pictures of {split.source} can be read; restore the files"
            )
        return _saved(file, drawn, COLUMNS)

    def augmented(self, file: Path, draws: int, seed: int) -> int:
        """The same pictures as some epochs of training make them, a row each, to one scale."""
        training = TrainingSet(self.split, self.dataset.augmentation(), seed, self.dataset.reading)
        ids = self.split.image_ids
        every = (
            (at, training[epoch, at])
            for at in _spread(self.split, self.count)
            for epoch in range(draws)
        )
        # Another picture stands in for one that cannot be read.
        samples = [each for at, each in every if each.image_id == ids[at]]
        scale = SIDE / max(max(each.pixels.shape[-2:]) for each in samples)
        drawn = []
        for each in samples:
            whole = view(each.pixels, each.labels, each.boxes)
            size = [max(1, round(scale * side)) for side in each.pixels.shape[-2:]]
            drawn.append(viewed(resized_to(whole, (size[0], size[1])), self.names))
        return _saved(file, drawn, draws)

    def classes(self, folder: Path) -> int:
        """A sheet for each class that has objects, from the smallest to the largest of them."""
        split = self.split
        areas = split.boxes[:, 2] * split.boxes[:, 3]
        chosen: dict[int, list[int]] = {}
        for label in np.unique(split.labels[split.learnt]).tolist():
            own = np.flatnonzero(split.learnt & (split.labels == label))
            chosen[label] = _some(own[np.argsort(areas[own], kind="stable")], self.count)
        crops = self._crops(at for own in chosen.values() for at in own)
        folder.mkdir(parents=True, exist_ok=True)
        names = [Path(_plain(split.label_space.names[label])) for label in chosen]
        files = unique_names(names, ".jpg")
        sheets = [[crops[at] for at in own if at in crops] for own in chosen.values()]
        pairs = [(file, each) for file, each in zip(files, sheets, strict=True) if each]
        for file, each in pairs:
            _saved(folder / file, each, 2 * COLUMNS)
        return len(pairs)

    def sizes(self, file: Path) -> int:
        """A row of objects for each range of sizes, as evaluation shows them."""
        split = self.split
        sides = np.sqrt(split.boxes[:, 2:].clip(0).prod(1))
        sides = sides * shown_scale(split, self.dataset.display)
        ranges = np.digitize(sides, EDGES) - 1
        rows = {at: np.flatnonzero(split.learnt & (ranges == at)) for at in range(len(EDGES))}
        chosen = {at: _some(own, 2 * COLUMNS) for at, own in rows.items() if len(own)}
        crops = self._crops(at for own in chosen.values() for at in own)
        cells: list[Image.Image] = []
        for at, own in chosen.items():
            row = [crops[each] for each in own if each in crops]
            blank = [Image.new("RGB", (CELL, CELL), LIGHT)] * (2 * COLUMNS - len(row))
            cells += [_caption(at, len(rows[at]), int(split.learnt.sum())), *row, *blank]
        return _saved(file, cells, 2 * COLUMNS + 1) if cells else 0

    def _crops(self, objects: Iterable[int]) -> dict[int, Image.Image]:
        """Objects with what is around them; every picture is decoded once."""
        owners = self.split.owners()
        of_image: dict[int, list[int]] = {}
        for at in sorted(set(objects)):
            of_image.setdefault(int(owners[at]), []).append(at)
        found: dict[int, Image.Image] = {}
        for image, own in of_image.items():
            pixels = _decoded(self.split, image, self.dataset.reading)
            if pixels is not None:
                height, width = self.split.size(image)
                scale = (pixels.shape[-1] / width, pixels.shape[-2] / height)
                found |= {at: self._crop(pixels, at, scale) for at in own}
        return found

    def _crop(self, pixels: Tensor, at: int, scale: tuple[float, float]) -> Image.Image:
        own = corners(self.split.boxes[at : at + 1])[0] * (*scale, *scale)
        left, top, right, bottom = own.tolist()
        side = max(LEAST, AROUND * max(right - left, bottom - top))
        x, y = (left + right - side) / 2, (top + bottom - side) / 2
        picture = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
        window = (x, y, x + side, y + side)
        cell = picture.transform(
            (CELL, CELL), Image.Transform.EXTENT, window, Image.Resampling.BILINEAR
        )
        canvas, label = Canvas(cell), int(self.split.labels[at])
        zoom = CELL / side
        box = [(left - x) * zoom, (top - y) * zoom, (right - x) * zoom, (bottom - y) * zoom]
        canvas.dashed(box, color_of(label))
        canvas.tag(box, self.names[label], color_of(label))
        return cell


def _decoded(split: Split, image: int, reading: Reading) -> Tensor | None:
    try:
        return decode(split.path(image), split.size(image), reading).pixels
    except UnreadableImageError:
        return None


def _caption(at: int, number: int, total: int) -> Image.Image:
    cell = Image.new("RGB", (CELL, CELL), LIGHT)
    canvas = Canvas(cell)
    upper = f"to {EDGES[at + 1]}" if at + 1 < len(EDGES) else "and more"
    lines = (f"{EDGES[at]} {upper} pixels", f"{number} objects", f"{100 * number / total:.2g} %")
    for row, line in enumerate(lines):
        canvas.tag((8, 40 + 24 * row, CELL, 60 + 24 * row), line, LIGHT)
    return cell


def _spread(split: Split, count: int) -> list[int]:
    return _some(np.arange(split.num_images), count)


def _some(positions: np.ndarray, count: int) -> list[int]:
    """So many from the first to the last."""
    places = np.linspace(0, len(positions) - 1, min(count, len(positions))).round().astype(int)
    chosen: list[int] = positions[places].tolist()
    return chosen


def _plain(name: str) -> str:
    """A name that a file can have; `.` would begin a suffix."""
    return "".join(
        "_" if each in '/\\:*?"<>|.' or not each.isprintable() else each for each in name
    )


def _saved(file: Path, cells: Sequence[Image.Image], columns: int) -> int:
    file.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(cells, columns).save(file, quality=QUALITY)
    return len(cells)
