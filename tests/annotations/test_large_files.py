"""Files of the usual shape are decoded by type; `test_fuzzing.py` shows that they say the same."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import patch

import pytest
from odd_data import flawless, write_odd

from detbox.annotations import Source, read_coco
from detbox.annotations.coco import read_categories


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Of COCO's own shape, with polygons and nulls."""
    file = write_odd(tmp_path / "data") / "annotations" / "instances_train.json"
    document = flawless("train")
    for each in document["annotations"]:
        each.update(segmentation=[[0, 0, 9, 0, 9, 9.5]], area=None, note={"by": ["me"]})
    file.write_text(json.dumps({"info": {}, **document}))
    return file


def test_no_generic_json_is_read_of_a_usual_file(file: Path) -> None:
    with patch("json.loads", side_effect=AssertionError):
        assert read_coco(Source(file.parent.parent / "train", file)).num_boxes == 4
        assert read_categories(file).names == ("bolt", "nut")
