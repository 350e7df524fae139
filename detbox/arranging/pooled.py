"""`data.pool`: training and validation of a data set as one, to be divided anew."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np

from detbox.annotations.findings import Finding
from detbox.annotations.packing import with_findings
from detbox.annotations.split import Split
from detbox.arranging import Read
from detbox.arranging.joining import concatenated

NUMBERED = "images of both splits numbered from 1 on, in detections.json too"


def pooled(read: Read) -> Read:
    """All pictures as either split, each once."""

    @cache
    def whole() -> Split | None:
        train, val = read("train"), read("val")
        if train is None or val is None:
            return val if train is None else train
        known = set(train.paths(train.num_images))
        new = [at for at, path in enumerate(val.paths(val.num_images)) if path not in known]
        return _joined(train, val.of_images(new)) if new else train

    return lambda name: whole()


def _joined(train: Split, val: Split) -> Split:
    """With the images' own numbers where no number is in both."""
    base = Path(os.path.commonpath([train.folder, val.folder]))
    both = concatenated([train, val], [train.source.name, val.source.name], base)
    numbers = np.concatenate((train.image_ids, val.image_ids))
    if len(np.unique(numbers)) == len(numbers):
        return both._replace(image_ids=numbers, found_as=train.found_as)
    return with_findings(both, Finding(NUMBERED, both.num_images, both.names[0], defect=False))
