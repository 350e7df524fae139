"""Whatever a document holds: it is read, or refused for a person, soon; never another exception."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from odd_data import flawless, write_odd

from detbox.annotations import Source, read_coco
from detbox.annotations.files import with_files_found
from detbox.annotations.split import Split
from detbox.errors import DetboxError
from detbox.evaluation.score import ground_truth
from detbox.messages import printable

SOON = settings(
    deadline=timedelta(seconds=5),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
NUMBERS = st.one_of(
    st.integers(-3, 40),
    st.sampled_from([2**31, 2**63, 2**64, -(2**64), 10**400, 1e308, 5e-324, -0.0, 0.5]),
    st.floats(),
)
TEXTS = st.one_of(
    st.sampled_from(
        ["0", "1", "1.0", "true", "nan", "1e999", "bolt", "train0.png", "../x", "a\0b"]
    ),
    st.sampled_from(
        ["http://[", "%2e%2e/x", "//x", "C:x", "\ud800", "[1,2,3,4]", "P" * 9, "0" * 50]
    ),
    NUMBERS.map(str),
    st.text(max_size=12),
)
SIMPLE = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = {
    "images": ("id", "file_name", "width", "height", "coco_url"),
    "annotations": ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation"),
    "categories": ("id", "name"),
}
MASKS = st.one_of(
    VALUES,
    st.lists(st.lists(NUMBERS, max_size=9), max_size=3),
    st.fixed_dictionaries(
        {
            "size": st.one_of(st.just([32, 32]), st.lists(NUMBERS, max_size=3)),
            "counts": st.one_of(
                st.text(st.characters(min_codepoint=48, max_codepoint=112)),
                st.lists(st.integers(-1, 1024), max_size=6),
                VALUES,
            ),
        }
    ),
)


@st.composite
def changes(draw: st.DrawFn) -> list[tuple[str, int, str, Any]]:
    """Values to be set: (list, position, key, value)."""
    found = []
    for _ in range(draw(st.integers(1, 4))):
        entries = draw(st.sampled_from(sorted(KEYS)))
        key = draw(st.sampled_from(KEYS[entries]))
        value = draw(MASKS if key == "segmentation" else VALUES)
        found.append((entries, draw(st.integers(0, 3)), key, value))
        if key == "segmentation":
            found.append((entries, found[-1][1], "bbox", None))
    return found


@contextmanager
def folder() -> Iterator[Path]:
    """A flawless data set."""
    with TemporaryDirectory() as root:
        yield write_odd(Path(root) / "data")


def used(root: Path, content: bytes) -> Split | None:
    """The split after everything that is done with one; None: it was refused."""
    file = root / "annotations" / "instances_train.json"
    file.write_bytes(content)
    with suppress(DetboxError):
        split = with_files_found(read_coco(Source(root / "train", file)), root, "train")
        for index in range(split.num_images):
            _, boxes = split.objects(index)
            assert ((boxes >= 0) & (boxes <= 1)).all()
            assert split.path(index).absolute().is_relative_to(root)
            assert ".." not in split.path(index).parts
        ground_truth(split)
        assert printable(split.summary()) == split.summary()
        return split
    return None


@SOON
@given(changes())
@example([("images", 0, "file_name", "//etc/passwd")])
@example([("annotations", 0, "bbox", [0, 0, 10**400, 1])])
def test_any_value_anywhere_is_read_or_refused(found: list[tuple[str, int, str, Any]]) -> None:
    document = flawless("train")
    for entries, position, key, value in found:
        listed = document[entries]
        listed[position % len(listed)][key] = value
    with folder() as root:
        read = used(root, json.dumps(document).encode())
        with patch("detbox.annotations.document.read_typed", return_value=None):
            assert said(used(root, json.dumps(document).encode())) == said(read)


def said(split: Split | None) -> list[str]:
    """All that a split says of its images and objects."""
    if split is None:
        return []
    columns = split._replace(names=split.paths(9))  # type: ignore[arg-type]
    return [str(each.tolist() if isinstance(each, np.ndarray) else each) for each in columns]


@SOON
@given(st.dictionaries(st.sampled_from(sorted(KEYS)), VALUES), VALUES)
def test_any_document_is_read_or_refused(fields: dict[str, Any], other: Any) -> None:
    with folder() as root:
        for content in ({**flawless("train"), **fields}, other):
            used(root, json.dumps(content).encode())


@SOON
@given(st.binary(max_size=40), st.integers(0, 900), st.sampled_from(["utf-8", "utf-16", "utf-32"]))
def test_any_bytes_in_any_encoding_are_read_or_refused(
    junk: bytes, position: int, encoding: str
) -> None:
    whole = json.dumps(flawless("train")).encode(encoding)
    with folder() as root:
        assert used(root, whole) is not None
        used(root, whole[:position] + junk + whole[position:])
        used(root, whole[: position + 1])


@SOON
@given(st.integers(1, 200000), st.sampled_from(["[", '{"a":', '{"images":[']))
def test_any_depth_is_read_or_refused(depth: int, opening: str) -> None:
    with folder() as root:
        assert used(root, (opening * depth).encode()) is None
        for key in ("segmentation", "bbox", "id"):
            document = flawless("train")
            document["annotations"][0][key] = "HERE"
            nested = "[" * depth + "]" * depth
            used(root, json.dumps(document).replace('"HERE"', nested).encode())
