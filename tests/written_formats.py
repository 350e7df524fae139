"""One small data set, written in every format by plain code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

NAMES = ("Möhre", "bolt", "nut")
"""as the alphabet has them, in which formats without an order give them"""


class Scene(NamedTuple):
    """A picture and its objects."""

    file: str
    width: int
    height: int
    objects: tuple[tuple[str, tuple[int, int, int, int]], ...]
    """class; left, top, right, bottom"""


Write = Callable[[Path, str, list[Scene]], object]
"""(root, `train` | `val`, scenes) -> written"""

SCENES = {
    "train": [
        Scene("a b#1%20.JPG", 64, 40, (("bolt", (4, 4, 24, 30)), ("nut", (30, 8, 60, 20)))),
        Scene("grün.png", 40, 64, (("Möhre", (0, 0, 40, 64)), ("nut", (5, 6, 11, 19)))),
        Scene("none.png", 32, 32, ()),
    ],
    "val": [Scene("v.png", 48, 48, (("bolt", (7, 9, 17, 33)), ("nut", (1, 2, 3, 4))))],
}
"""the validation split has some of the classes"""


def write_set(root: Path, write: Write, scenes: dict[str, list[Scene]] | None = None) -> Path:
    """The whole set in one format."""
    root.mkdir(parents=True)
    for split, listed in (SCENES if scenes is None else scenes).items():
        write(root, split, listed)
    return root


def picture(folder: Path, scene: Scene) -> None:
    """Its pixels, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / scene.file).exists():
        shade = np.linspace(0, 255, scene.width, dtype=np.uint8)
        Image.fromarray(np.tile(shade, (scene.height, 1))).save(folder / scene.file)


def coco(root: Path, split: str, scenes: list[Scene]) -> None:
    """`annotations/instances_SPLIT.json`."""
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for number, scene in enumerate(scenes, 1):
        picture(root / split, scene)
        sizes = {"width": scene.width, "height": scene.height}
        images.append({"id": number, "file_name": scene.file, **sizes})
        for name, (left, top, right, bottom) in scene.objects:
            box = [left, top, right - left, bottom - top]
            label = NAMES.index(name) + 1
            one = {"image_id": number, "category_id": label, "bbox": box}
            annotations.append({"id": len(annotations) + 1, **one})
    classes = [{"id": number, "name": name} for number, name in enumerate(NAMES, 1)]
    file = root / "annotations" / f"instances_{split}.json"
    file.parent.mkdir(exist_ok=True)
    whole = {"images": images, "annotations": annotations, "categories": classes}
    file.write_text(json.dumps(whole), encoding="utf-8")


def yolo_lines(scene: Scene) -> str:
    """The labels of one picture."""
    lines = []
    for name, (left, top, right, bottom) in scene.objects:
        middle = ((left + right) / 2 / scene.width, (top + bottom) / 2 / scene.height)
        extent = ((right - left) / scene.width, (bottom - top) / scene.height)
        lines.append(" ".join(map(str, (NAMES.index(name), *middle, *extent))))
    return "\n".join(lines)


def yolo(root: Path, split: str, scenes: list[Scene]) -> None:
    """`images/SPLIT` and `labels/SPLIT`, with a `data.yaml` of another machine."""
    labels = root / "labels" / split
    labels.mkdir(parents=True)
    for scene in scenes:
        picture(root / "images" / split, scene)
        (labels / scene.file).with_suffix(".txt").write_text(yolo_lines(scene))
    names = "\n".join(f"  {number}: {name}" for number, name in enumerate(NAMES))
    text = f"path: /home/her/set\ntrain: images/train\nval: images/val\nnames:\n{names}\n"
    (root / "data.yaml").write_text(text, encoding="utf-8")


def voc(root: Path, split: str, scenes: list[Scene]) -> None:
    """`Annotations`, `JPEGImages` and `ImageSets/Main/SPLIT.txt`."""
    (root / "Annotations").mkdir(exist_ok=True)
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True, exist_ok=True)
    for scene in scenes:
        picture(root / "JPEGImages", scene)
        objects = "".join(
            f"<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{left}</xmin>"
            f"<ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
            for name, (left, top, right, bottom) in scene.objects
        )
        text = (
            f"<annotation><filename>{scene.file}</filename><size><width>{scene.width}</width>"
            f"<height>{scene.height}</height></size>{objects}</annotation>"
        )
        file = (root / "Annotations" / scene.file).with_suffix(".xml")
        file.write_text(text, encoding="utf-8")
    stems = "\n".join(Path(scene.file).stem for scene in scenes)
    (lists / f"{split}.txt").write_text(stems, encoding="utf-8")


def csv(root: Path, split: str, scenes: list[Scene]) -> None:
    """`SPLIT/_annotations.csv` beside the pictures, with an empty line for each without objects."""
    lines = ["filename,width,height,class,xmin,ymin,xmax,ymax"]
    for scene in scenes:
        picture(root / split, scene)
        start = f"{scene.file},{scene.width},{scene.height}"
        objects = [f"{name},{','.join(map(str, box))}" for name, box in scene.objects]
        lines += [f"{start},{each}" for each in objects or [",,,,"]]
    text = "\n".join(lines)
    (root / split / "_annotations.csv").write_text(text, encoding="utf-8")


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


WRITERS: dict[str, Write] = {
    **{"yolo": yolo, "voc": voc, "csv": csv, "labelme": labelme, "cvat": cvat}
}
"""by the name of the format"""
