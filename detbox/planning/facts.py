"""What a rule sees of the training split, and what it answers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from detbox.annotations.split import Split
from detbox.messages import counted

SMALL = 0.1
"""quantile of the objects' sides that counts as a small object"""


class Start(NamedTuple):
    """What weights to start from are used to."""

    name: str
    """of the file, for messages"""
    eval_size: int
    train_sizes: tuple[int, ...]
    max_size: int
    num_queries: int | None
    """None: as many as the model's settings say"""


class Facts(NamedTuple):
    """A training split in a few numbers."""

    images: int
    boxes: int
    """to learn from"""
    classes: int
    most: int
    """boxes of the fullest image"""
    short: int
    """median short side of the images, in pixels"""
    small: float
    """side of a small object, the root of its area, as a share of its image's short side"""
    epoch: int
    """pictures of an epoch, in which an image may come several times"""
    start: Start | None = None
    """weights that the training starts from; None: those of the backbone alone"""

    @classmethod
    def of(cls, split: Split, epoch: int | None = None) -> Facts:
        """Count; no image is opened. Without `epoch` each image comes once in it."""
        shorts = split.sizes.min(1)
        own = split.owners()[split.learnt]
        sides = np.sqrt(split.boxes[split.learnt, 2:].prod(1)) / shorts[own]
        return cls(
            images=split.num_images,
            boxes=len(own),
            classes=len(split.label_space),
            most=int(np.bincount(own, minlength=1).max()),
            short=int(np.median(shorts)),
            small=float(np.quantile(sides, SMALL)) if len(sides) else 1.0,
            epoch=split.num_images if epoch is None else epoch,
        )

    def __str__(self) -> str:
        """`292 images with 3941 boxes of 3 classes`."""
        return (
            f"{counted(self.images, 'image')} with {counted(self.boxes, 'box')} of "
            f"{counted(self.classes, 'class')}"
        )


class Choice(NamedTuple):
    """A setting that a rule chose."""

    key: str
    """as typed, `section.name`"""
    value: Any
    reason: str
    """behind it in the log"""

    def __str__(self) -> str:
        """`model.num_queries=100 (30 boxes in the fullest image)`."""
        value = str(self.value).replace(" ", "")
        return f"{self.key}={value} ({self.reason})"
