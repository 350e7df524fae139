"""Writes Pascal VOC's XML."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from detbox.annotations.labelled import sorted_space
from detbox.annotations.split import Split, corners
from detbox.annotations.writing import Splits, Writer, short
from detbox.annotations.written_names import in_space

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def write_voc(root: Path, splits: Splits) -> None:
    """`Annotations/a.xml` for every picture, and `ImageSets/Main/SPLIT.txt`."""
    folder, lists = root / "Annotations", root / "ImageSets" / "Main"
    folder.mkdir()
    for part, split in splits.items():
        names = [Path(split.names[index]) for index in range(split.num_images)]
        for index, name in enumerate(names):
            tree = ElementTree(_annotation(split, index))
            indent(tree)
            tree.write(folder / name.with_suffix(".xml"), encoding="utf-8")
        if part:
            lists.mkdir(parents=True, exist_ok=True)
            text = "".join(f"{name.stem}\n" for name in names)
            (lists / f"{part}.txt").write_text(text, encoding="utf-8")


def _annotation(split: Split, index: int) -> Element:
    top = Element("annotation")
    _add(top, "folder", "JPEGImages")
    _add(top, "filename", split.names[index])
    size, (height, width) = SubElement(top, "size"), split.size(index)
    _add(size, "width", width)
    _add(size, "height", height)
    own = slice(split.starts[index], split.starts[index + 1])
    named = [split.label_space.names[label] for label in split.labels[own]]
    rows = zip(named, split.crowd[own], corners(split.boxes[own]).tolist(), strict=True)
    for name, difficult, box in rows:
        one = SubElement(top, "object")
        _add(one, "name", name)
        _add(one, "difficult", int(difficult))
        bounds = SubElement(one, "bndbox")
        for key, number in zip(CORNERS, box, strict=True):
            _add(bounds, key, short(number))
    return top


def _add(element: Element, tag: str, value: object) -> None:
    SubElement(element, tag).text = str(value)


def _sorted(splits: Splits) -> dict[str, Split]:
    """Every split in the classes that it has objects of."""
    return {
        part: in_space(
            split, sorted_space({split.label_space.names[each] for each in split.labels.tolist()})
        )
        for part, split in splits.items()
    }


VOC = Writer(
    write_voc, lambda part: "JPEGImages", frozenset({"crowds", "boxes beyond", "repeats"}), _sorted
)
