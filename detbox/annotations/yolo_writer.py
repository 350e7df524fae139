"""Writes YOLO's labels and `data.yaml`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from detbox.annotations.split import Split
from detbox.annotations.writing import Splits, Writer
from detbox.annotations.written_names import in_one_space
from detbox.structures import LabelSpace

DIGITS = 12
"""behind the point of a share: 1e-8 pixels of the largest picture that anyone has"""


def write_yolo(root: Path, splits: Splits) -> None:
    """`labels/SPLIT/a.txt` for every picture, empty where it has no objects, and `data.yaml`."""
    import yaml

    for part, split in splits.items():
        folder = root / "labels" / part
        folder.mkdir(parents=True)
        for index in range(split.num_images):
            file = (folder / split.names[index]).with_suffix(".txt")
            file.write_text("".join(_lines(split, index)), encoding="utf-8")
    places = {part: f"images/{part}" for part in splits if part}
    space = next(iter(splits.values())).label_space
    meta = {**places, "names": dict(enumerate(space.names))}
    text = yaml.safe_dump(meta, allow_unicode=True, sort_keys=False)
    (root / "data.yaml").write_text(text, encoding="utf-8")


def _lines(split: Split, index: int) -> Iterator[str]:
    own = slice(split.starts[index], split.starts[index + 1])
    boxes, extent = split.boxes[own], split.sizes[index, [1, 0]]
    shares = np.concatenate((boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]), 1) / np.tile(extent, 2)
    for label, numbers in zip(split.labels[own], shares.tolist(), strict=True):
        words = [f"{each:.{DIGITS}f}".rstrip("0").rstrip(".") for each in numbers]
        yield " ".join((str(label), *words)) + "\n"


def _numbered_from_0(splits: Splits) -> dict[str, Split]:
    joined = in_one_space(splits)
    names = next(iter(joined.values())).label_space.names
    space = LabelSpace(names, tuple(range(len(names))))
    return {part: split._replace(label_space=space) for part, split in joined.items()}


YOLO = Writer(write_yolo, lambda part: f"images/{part}", classes=_numbered_from_0)
