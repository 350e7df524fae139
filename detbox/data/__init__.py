"""Pictures and boxes from disk to batches; importing this registers every data set and step."""

from __future__ import annotations

import detbox.annotations  # registers the formats
import detbox.data.mosaic
import detbox.data.steps  # noqa: F401 and the steps
from detbox.data.builders import folder, shapes
from detbox.data.dataset import DataSet, Loading
from detbox.data.images import UnreadableImageError

__all__ = [
    "DataSet",
    "Loading",
    "UnreadableImageError",
    "folder",
    "shapes",
]
