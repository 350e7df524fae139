"""One small data set, written in every format: by detbox where it can, else by plain code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from detbox.annotations.labelled import Labelled, sorted_space, split_of_pictures
from detbox.annotations.split import Split
from detbox.annotations.writing import prepared
from detbox.registry import FORMATS

NAMES = ("Möhre", "bolt", "nut")
"""as the alphabet has them, in which formats without an order give them"""


class Scene(NamedTuple):
    """A picture and its objects."""

    file: str
    width: int
    height: int
    objects: tuple[tuple[str, tuple[int, int, int, int]], ...]
    """class; left, top, right, bottom"""


Scenes = dict[str, list[Scene]]
"""by `train` and `val`"""
Write = Callable[[Path, Scenes], None]
"""(folder that is there, scenes) -> written"""

SCENES: Scenes = {
    "train": [
        Scene("a b#1%20.JPG", 64, 40, (("bolt", (4, 4, 24, 30)), ("nut", (30, 8, 60, 20)))),
        Scene("grün.png", 40, 64, (("Möhre", (0, 0, 40, 64)), ("nut", (5, 6, 11, 19)))),
        Scene("none.png", 32, 32, ()),
    ],
    "val": [Scene("v.png", 48, 48, (("bolt", (7, 9, 17, 33)), ("nut", (1, 2, 3, 4))))],
}
"""the validation split has some of the classes"""


def write_set(root: Path, write: Write, scenes: Scenes | None = None) -> Path:
    """The whole set in one format."""
    root.mkdir(parents=True)
    write(root, SCENES if scenes is None else scenes)
    return root


def picture(folder: Path, scene: Scene) -> None:
    """Its pixels, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / scene.file).exists():
        shade = np.linspace(0, 255, scene.width, dtype=np.uint8)
        Image.fromarray(np.tile(shade, (scene.height, 1))).save(folder / scene.file)


def by_writer(name: str) -> Write:
    """As detbox writes a format."""

    def write(root: Path, scenes: Scenes) -> None:
        writer = FORMATS.build({"name": name}).writer
        ready, _ = prepared({part: split_of(root, own) for part, own in scenes.items()}, writer)
        writer.write(root, ready)
        for part, own in scenes.items():
            for scene in own:
                picture(root / writer.pictures(part), scene)

    return write


def split_of(folder: Path, scenes: list[Scene]) -> Split:
    """What every format should say."""
    listed = []
    for scene in scenes:
        corners = np.array([box for _, box in scene.objects], dtype=float).reshape(-1, 4)
        boxes = np.concatenate((corners[:, :2], corners[:, 2:] - corners[:, :2]), 1)
        names = [name for name, _ in scene.objects]
        listed.append(Labelled(scene.file, names, boxes, (scene.height, scene.width)))
    return split_of_pictures(folder, folder, listed, sorted_space(NAMES))


def split_by_split(write: Callable[[Path, str, list[Scene]], None]) -> Write:
    """Of a function that writes one split."""

    def write_all(root: Path, scenes: Scenes) -> None:
        for split, listed in scenes.items():
            write(root, split, listed)

    return write_all


@split_by_split
def labelme(root: Path, split: str, scenes: list[Scene]) -> None:
    """A JSON beside every picture of the folder `SPLIT`, with a picture inside."""
    for scene in scenes:
        picture(root / split, scene)
        shapes = [
            {"label": name, "shape_type": "rectangle", "points": [[right, top], [left, bottom]]}
            for name, (left, top, right, bottom) in scene.objects
        ]
        sides = {"imageWidth": scene.width, "imageHeight": scene.height, "imageData": "x" * 99}
        file = (root / split / scene.file).with_suffix(".json")
        text = json.dumps({"imagePath": f"..\\{scene.file}", "shapes": shapes, **sides})
        file.write_text(text, encoding="utf-8")


@split_by_split
def cvat(root: Path, split: str, scenes: list[Scene]) -> None:
    """`SPLIT.xml` with pictures in `images`."""
    images = ""
    for scene in scenes:
        picture(root / "images", scene)
        objects = "".join(
            f'<box label="{name}" xtl="{left}" ytl="{top}" xbr="{right}" ybr="{bottom}"/>'
            for name, (left, top, right, bottom) in scene.objects
        )
        images += (
            f'<image id="0" name="{scene.file}" width="{scene.width}" height="{scene.height}">'
            f"{objects}</image>\n"
        )
    labels = "".join(f"<label><name>{name}</name></label>" for name in NAMES)
    meta = f"<version>1.1</version><meta><task><labels>{labels}</labels></task></meta>"
    text = f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>{meta}{images}</annotations>'
    (root / f"{split}.xml").write_text(text, encoding="utf-8")


coco = by_writer("coco")
WRITERS: dict[str, Write] = {
    **{name: by_writer(name) for name in ("yolo", "voc", "csv")},
    **{"labelme": labelme, "cvat": cvat},
}
"""by the name of the format"""
