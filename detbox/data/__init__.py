"""Pictures and boxes from disk to batches; importing this registers every data set."""

from __future__ import annotations

from detbox.data.builders import coco, shapes
from detbox.data.images import UnreadableImageError, read_image
from detbox.data.module import DataModule

__all__ = ["DataModule", "UnreadableImageError", "coco", "read_image", "shapes"]
