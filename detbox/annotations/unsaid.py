"""What a format may have no words for: a split without it, and how much that was."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from detbox.annotations.findings import Finding, found
from detbox.annotations.masks import outlines_in
from detbox.annotations.packing import CLIP_TOLERANCE
from detbox.annotations.split import Split, corners

Said = tuple[Split, tuple[Finding, ...]]
SAME_AREA = 1e-6
"""of the box's, within which an area is that of the box"""


def spoken(split: Split, says: Collection[str]) -> Said:
    """A split as a format can say it, and what it cannot, counted.

    Args:
        split: as it was read.
        says: those of `WORDS` that the format has.
    """
    findings: tuple[Finding, ...] = ()
    for word, without in WORDS.items():
        if word not in says:
            split, more = without(split)
            findings += more
    return split, findings


def without_outlines(split: Split) -> Said:
    """The boxes alone of polygons and masks."""
    what = "outlines (polygons, masks) replaced by their boxes"
    lost = _found(split, what, split.outlined)
    if split.source.suffix == ".json" and (count := outlines_in(split.source)):
        lost = (Finding(what, count, split.source.name, defect=False),)
    return split._replace(outlined=np.zeros_like(split.outlined)), lost


def without_crowds(split: Split) -> Said:
    """Without what would else become an object like others."""
    lost = _found(split, "crowd regions and difficult objects left out", split.crowd)
    return split.of_objects(~split.crowd), lost


def within_pictures(split: Split) -> Said:
    """Boxes cut at the edges; without those of which nothing is left."""
    whole = corners(split.boxes)
    cut = whole.clip(0, split.sizes[split.owners()][:, [1, 0, 1, 0]])
    boxes = np.concatenate((cut[:, :2], cut[:, 2:] - cut[:, :2]), 1)
    left = np.all(boxes[:, 2:] > 0, axis=1)
    beyond = (np.abs(cut - whole) > CLIP_TOLERANCE).any(1)
    lost = (
        *_found(split, "boxes clipped to the image", beyond & left),
        *_found(split, "boxes without an area inside the image left out", ~left),
    )
    inside = (cut == whole).all(1, keepdims=True)
    return split._replace(boxes=np.where(inside, split.boxes, boxes)).of_objects(left), lost


def with_areas_of_boxes(split: Split) -> Said:
    """As if no mask had ever been measured."""
    areas = split.boxes[:, 2] * split.boxes[:, 3]
    other = ~np.isclose(split.areas, areas, rtol=SAME_AREA, atol=SAME_AREA)
    lost = _found(split, "areas of masks replaced by those of the boxes", other)
    return split._replace(areas=areas), lost


def without_repeats(split: Split) -> Said:
    """One object of each class and box in a picture."""
    rows = np.column_stack((split.owners(), split.labels, split.boxes.round(9)))
    first = np.zeros(len(rows), dtype=bool)
    first[np.unique(rows, axis=0, return_index=True)[1]] = True
    return split.of_objects(first), _found(split, "repeated objects left out", ~first)


def with_images_anew(split: Split) -> Said:
    """Images numbered from 1 on."""
    numbers = np.arange(split.num_images) + 1
    other = split.image_ids != numbers
    lost = found("images numbered anew", other, split.names.__getitem__, defect=False)
    return split._replace(image_ids=numbers), lost


def with_objects_anew(split: Split) -> Said:
    """Objects numbered from 1 on."""
    numbers = np.arange(len(split.object_ids)) + 1
    lost = _found(split, "objects numbered anew", split.object_ids != numbers)
    return split._replace(object_ids=numbers), lost


def with_objects_apart(split: Split) -> Said:
    """The same, where two of them share a number."""
    apart = len(np.unique(split.object_ids)) == len(split.object_ids)
    return (split, ()) if apart else with_objects_anew(split)


WORDS: dict[str, Callable[[Split], Said]] = {
    "outlines": without_outlines,
    "crowds": without_crowds,
    "boxes beyond": within_pictures,
    "areas": with_areas_of_boxes,
    "repeats": without_repeats,
    "image numbers": with_images_anew,
    "object numbers": with_objects_anew,
    "numbers alike": with_objects_apart,
}
"""what a format may be able to say -> the split without it"""


def _found(split: Split, what: str, hits: np.ndarray) -> tuple[Finding, ...]:
    owners = split.owners()
    return found(what, hits, lambda position: split.names[owners[position]], defect=False)
