"""Writes COCO's JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from detbox.annotations.split import Split
from detbox.annotations.unsaid import WORDS
from detbox.annotations.writing import Splits, Writer, short
from detbox.structures import LabelSpace


def write_coco(root: Path, splits: Splits) -> None:
    """`annotations/instances_SPLIT.json`, or `annotations.json` of what is not divided."""
    for part, split in splits.items():
        file = root / (f"annotations/instances_{part}.json" if part else "annotations.json")
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(coco_document(split)), encoding="utf-8")


def coco_document(split: Split) -> dict[str, list[dict[str, Any]]]:
    """The three lists of COCO's JSON; boxes as they are, also those that are not learnt."""
    space, owners = split.label_space, split.owners()
    images = [
        {
            "id": int(number),
            "file_name": split.names[at],
            "width": int(width),
            "height": int(height),
        }
        for at, (number, (height, width)) in enumerate(
            zip(split.image_ids, split.sizes, strict=True)
        )
    ]
    annotations = [
        {
            "id": int(split.object_ids[at]),
            "image_id": int(split.image_ids[owners[at]]),
            "category_id": space.category_ids[split.labels[at]],
            "bbox": [short(each) for each in split.boxes[at].tolist()],
            "area": short(split.areas[at]),
            "iscrowd": int(split.crowd[at]),
        }
        for at in range(len(owners))
    ]
    named = zip(space.category_ids, space.names, strict=True)
    categories = [{"id": number, "name": name} for number, name in named]
    return {"images": images, "annotations": annotations, "categories": categories}


def _by_number(splits: Splits) -> dict[str, Split]:
    """In the order that readers take from the numbers."""
    return {part: _sorted(split) for part, split in splits.items()}


def _sorted(split: Split) -> Split:
    names, numbers = split.label_space.names, split.label_space.category_ids
    order = sorted(range(len(names)), key=numbers.__getitem__)
    space = LabelSpace(tuple(names[at] for at in order), tuple(numbers[at] for at in order))
    return split.in_classes(space, {old: new for new, old in enumerate(order)})


UNSAID = {"outlines", "numbers alike"}
"""masks, as a split does not hold them, and numbers that two objects share"""
COCO = Writer(
    write_coco, lambda part: part or "images", frozenset({*WORDS, "names"} - UNSAID), _by_number
)
