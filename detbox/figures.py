"""The figures of an evaluation, and where whoever shows them finds the last ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

SCALARS = (
    *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
    *("AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large", "AP50_nms"),
    *("AP_all", "AR_all"),
)
"""names of the figures that are one number"""
OFFICIAL = 100
"""detections of a class in an image that COCO's figures count"""


class ClassMetrics(NamedTuple):
    """The figures of one class."""

    name: str
    category_id: int
    boxes: int
    """objects to find, crowd regions left out"""
    AP: float
    AP50: float


class CocoMetrics(NamedTuple):
    """The 12 COCO numbers in [0, 1]; `UNDEFINED` where there is no object of that size."""

    AP: float
    AP50: float
    AP75: float
    AP_small: float
    AP_medium: float
    AP_large: float
    AR1: float
    AR10: float
    AR100: float
    AR_small: float
    AR_medium: float
    AR_large: float
    AP50_nms: float | None
    """AP50 after suppression at IoU 0.6 within each class: what it gains is lost to duplicates;
    None: not asked for"""
    AP_all: float
    """AP over all detections; the official figures count 100 of a class in an image"""
    AR_all: float
    """AR over all detections"""
    images: int
    """images evaluated"""
    most: int
    """detections of the class and image that have the most"""
    classes: tuple[ClassMetrics, ...]

    def scalars(self) -> dict[str, float]:
        """Name -> figure, for a logger: the 12 numbers and those beside them."""
        found = ((name, getattr(self, name)) for name in SCALARS)
        return {name: value for name, value in found if value is not None}


@dataclass
class Figures:
    """What evaluation writes and others read."""

    promised: bool = False
    """whether a callback of this run evaluates"""
    last: CocoMetrics | None = None
    """of the last validation, the same on every rank; None before the first"""
    written: dict[str, list[Path]] = field(default_factory=dict)
    """by subject, tables and pictures of it that lie in the run folder once the run has ended"""


class Result(dict[str, float]):
    """What a job returns: its figures by name, and as a number the one that a search looks at.

    Args:
        figures: of the last evaluation.
        objective: name of one of them.
    """

    def __init__(self, figures: Mapping[str, float], objective: str) -> None:
        super().__init__(figures)
        self.objective = objective

    def __float__(self) -> float:
        """The objective.

        Raises:
            ValueError: the job has not evaluated.
        """
        if self.objective not in self:
            raise ValueError(f"no {self.objective}: the job has not evaluated")
        return self[self.objective]
