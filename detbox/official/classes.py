"""The classes that an official checkpoint's label indices stand for."""

from __future__ import annotations

from collections.abc import Sequence

from detbox.errors import CheckpointError
from detbox.structures import LabelSpace

_NAMES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire
hydrant, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant,
bear, zebra, giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, skis,
snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis
racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich,
orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed,
dining table, toilet, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven,
toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier,
toothbrush
"""
_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
_IDS = tuple(number for number in range(1, 91) if number not in _UNUSED)
COCO: tuple[tuple[int, str], ...] = tuple(
    zip(_IDS, " ".join(_NAMES.split()).split(", "), strict=True)
)
"""COCO's 80 classes by the ids of its annotation files, which skip some numbers up to 90"""


def official_label_space(num_classes: int) -> LabelSpace:
    """COCO's classes where a head has as many rows, else numbered ones.

    Heads of 91 rows use COCO's ids as labels, detrex's heads of 80 count the classes that exist.
    """
    if num_classes == len(COCO):
        return LabelSpace(tuple(name for _, name in COCO), tuple(number for number, _ in COCO))
    if num_classes == COCO[-1][0] + 1:
        return by_id(COCO, num_classes)
    return LabelSpace(tuple(f"class {i}" for i in range(num_classes)), tuple(range(num_classes)))


def given_label_space(space: LabelSpace, num_classes: int) -> LabelSpace:
    """The classes of an annotation file, as a head of so many rows counts them.

    Args:
        space: classes of the file.
        num_classes: rows of the head; as many as categories, or the official codes' largest id
            plus one.

    Raises:
        ValueError: the head has another number of rows.
    """
    if num_classes == len(space):
        return space
    largest = max(space.category_ids, default=0)
    if num_classes != largest + 1:
        raise CheckpointError(
            f"the checkpoint tells {num_classes} classes apart, the annotations have {len(space)} "
            f"with ids up to {largest} (expected {len(space)} or {largest + 1}); give the "
            "annotations that it was trained on"
        )
    return by_id(tuple(zip(space.category_ids, space.names, strict=True)), num_classes)


def by_id(classes: Sequence[tuple[int, str]], num_classes: int) -> LabelSpace:
    """A label space whose labels are category ids; ids without a class are called `unused 12`."""
    names = dict(classes)
    ids = range(num_classes)
    return LabelSpace(tuple(names.get(i, f"unused {i}") for i in ids), tuple(ids))
