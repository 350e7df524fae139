"""What a data set is: a description that opens no file until a split is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from detbox.annotations.split import Split
from detbox.arranging.division import Division
from detbox.data.augmentation import Augmentation
from detbox.data.images import AUTOMATIC, Reading
from detbox.data.transforms import Display


class Loading(NamedTuple):
    """How batches are made."""

    batch_size: int
    """images per rank and training step"""
    eval_batch_size: int
    """images per rank and evaluation step"""
    workers: int
    """decoding processes per rank, at most one per core"""
    total_batch: int | None = None
    """images per optimizer step over all ranks, in place of `batch_size`; None: as that makes"""
    repeat_threshold: float = 0.0
    """share of the training images below which a class comes more often; 0: each image once"""


@dataclass(frozen=True)
class DataSet:
    """A training and a validation split; a registered builder gives one from its settings."""

    read: Callable[[str], Split | None]
    """`train` or `val` -> that split; None: there is none"""
    display: Display
    """how pictures are shown in evaluation and prediction"""
    augmentation: Callable[[], Augmentation]
    """how they vary in training; made only where there is a training"""
    loading: Loading
    reading: Reading = AUTOMATIC
    """how files become pictures, in training, evaluation and prediction"""
    embedded: bool = False
    """True for the data set that the package draws itself"""
    division: Callable[[], Division] | None = None
    """which picture is on which side; None: as the splits are found"""
    advice: str = "choose another data set"
    """what to do where a split is missing, with `*` for its name"""
