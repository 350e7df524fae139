"""Small COCO folders on disk."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from coco_files import WriteSplit, write_files


@pytest.fixture
def write_split(tmp_path: Path) -> WriteSplit:
    """Write a split of given images, annotations and categories; returns its root."""
    return partial(write_files, tmp_path)
