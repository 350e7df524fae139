"""`data.val_fraction`, `data.folds`: training and validation out of one set of pictures."""

from __future__ import annotations

from functools import cache, cached_property
from typing import NamedTuple

import numpy as np

from detbox.annotations.findings import Finding
from detbox.annotations.packing import with_findings
from detbox.annotations.split import Split
from detbox.arranging import Read
from detbox.arranging.division import Division
from detbox.arranging.pooled import pooled
from detbox.arranging.stratified import stratified
from detbox.arranging.units import Units
from detbox.errors import DataError, SettingError
from detbox.messages import counted
from detbox.places import located

OTHER = {"train": "val", "val": "train"}
MORE = 0.2
"""share of the pictures that were asked for, from which on more of them are told of"""
LARGE = 0.1
"""share of the pictures from which on a group of near-duplicates is warned of"""


class Dividing(NamedTuple):
    """How pictures are divided."""

    val_fraction: float | None = None
    folds: int | None = None
    fold: int | None = None
    split_seed: int = 0
    keep_alike: bool = True
    pool: bool = False
    division: str | None = None

    def checked(self) -> Dividing:
        """Itself.

        Raises:
            SettingError: settings that contradict or lack each other.
        """
        if self.val_fraction is not None and self.folds is not None:
            raise SettingError(
                f"{self} are two ways to divide; leave one of data.val_fraction and data.folds out"
            )
        if self.pool and not self.asked:
            raise SettingError("data.pool=true is to divide by; give data.val_fraction=0.2 too")
        if self.folds is None and self.fold is not None:
            raise SettingError(f"data.fold={self.fold} is one of several; give data.folds=5 too")
        if self.folds is not None and (self.fold is None or self.fold >= self.folds):
            raise SettingError(
                f"data.folds={self.folds} needs data.fold from 0 to {self.folds - 1}, got "
                f"{self.fold}; one training for each: -m data.folds={self.folds} "
                f"data.fold={','.join(map(str, range(self.folds)))}"
            )
        return self

    @property
    def asked(self) -> bool:
        """Whether there is anything to divide by."""
        return not (self.val_fraction is None and self.folds is None and self.division is None)

    @property
    def shares(self) -> list[float]:
        """Of the parts in the pictures."""
        if self.folds is not None:
            return [1 / self.folds] * self.folds
        share = self.val_fraction or 0.0
        return [1 - share, share]

    @property
    def validated(self) -> int:
        """The part that is for validation."""
        return 1 if self.fold is None else self.fold

    def __str__(self) -> str:
        """As typed."""
        keys = ("val_fraction", "folds", "fold", "split_seed")
        values = {key: getattr(self, key) for key in keys}
        text = " ".join(f"data.{key}={value}" for key, value in values.items() if value is not None)
        text += "" if self.keep_alike else " data.keep_alike=false"
        return text + (" data.pool=true" if self.pool else "")


class Divided:
    """Reads the sides of what is divided; which picture is where is settled once.

    Args:
        read: gives one split, or pictures that are in both; those that one of two splits has alone
            stay there.
        dividing: how.
    """

    def __init__(self, read: Read, dividing: Dividing) -> None:
        self._read = cache(pooled(read) if dividing.pool else read)
        self._dividing = dividing

    def __call__(self, name: str) -> Split | None:
        """One side.

        Raises:
            DataError: the pictures are divided already, too few, or others than were divided.
        """
        division, notes = self._settled
        split = self._read(name)
        split = self._read(OTHER[name]) if split is None else split
        if split is None:
            return None
        side = division.side(split, name)
        return with_findings(side, *notes) if name == "train" else side

    def division(self) -> Division:
        """The names on either side."""
        return self._settled[0]

    @cached_property
    def _settled(self) -> tuple[Division, tuple[Finding, ...]]:
        if self._dividing.division is not None:
            return Division.read(located(self._dividing.division)), ()
        train, val = self._read("train"), self._read("val")
        pool = _undivided(train, val, self._dividing)
        units = Units.of(pool, self._dividing.split_seed, self._dividing.keep_alike)
        parts = _parts(pool, units, self._dividing)
        there, names = _names(pool), np.array(_names(pool), dtype=object)
        validated = set(names[parts == self._dividing.validated])
        fixed = set() if train is None or val is None else set(_names(val)).difference(there)
        division = Division(
            frozenset(_names(train or pool)) - validated,
            frozenset(validated | fixed),
            f"by {self._dividing}{_together(units)}{_more(pool, units, parts, self._dividing)}",
        )
        return division, _warnings(pool, units)


def _undivided(train: Split | None, val: Split | None, dividing: Dividing) -> Split:
    """The pictures that no split has for itself.

    Raises:
        DataError: there are none.
    """
    if train is None or val is None:
        whole = val if train is None else train
        if whole is None:
            raise DataError(f"there are no pictures for {dividing} to divide; set data.root")
        return whole
    both = set(val.paths(val.num_images))
    shared = [at for at, path in enumerate(train.paths(train.num_images)) if path in both]
    if not shared:
        raise DataError(
            f"{dividing}: the data have a training and a validation split already, "
            f"{train.source} and {val.source}; leave it out to use them, or add data.pool=true "
            "to divide both together"
        )
    return train.of_images(shared)


def _parts(pool: Split, units: Units, dividing: Dividing) -> np.ndarray:
    """(N,) the part of every picture.

    Raises:
        DataError: there are fewer units than parts.
    """
    wanted = len(dividing.shares)
    if units.total < wanted:
        told, mend = counted(pool.num_images, "image"), "add images"
        if units.total < pool.num_images:
            told += f" in {counted(units.total, 'group')} of near-duplicates"
        if wanted <= pool.num_images:
            mend = "data.keep_alike=false divides those too"
        raise DataError(f"{dividing} makes {wanted} parts, {pool.source} has {told}; {mend}")
    parts: np.ndarray = stratified(units.table(pool), dividing.shares)[units.numbers]
    return parts


def _together(units: Units) -> str:
    if not units.alike:
        return ""
    groups, most = counted(len(units.alike), "group"), max(map(len, units.alike))
    return f", with {groups} of near-duplicates on one side each, the largest of {most}"


def _more(pool: Split, units: Units, parts: np.ndarray, dividing: Dividing) -> str:
    """What is said where rare classes take more pictures to validate than were asked for."""
    validates = parts == dividing.validated
    asked = round(dividing.shares[dividing.validated] * len(parts))
    number = int(validates.sum())
    if number - asked <= max(MORE * asked, *map(len, units.alike), 1):
        return ""
    labels, theirs = pool.labels[pool.learnt], validates[pool.owners()[pool.learnt]]
    shared = len(np.intersect1d(labels[theirs], labels[~theirs]))
    return (
        f", {number} to validate in place of {asked}, so that {counted(shared, 'class')} "
        f"{'is' if shared == 1 else 'are'} on both sides"
    )


def _warnings(pool: Split, units: Units) -> tuple[Finding, ...]:
    most = max(units.alike, key=len, default=())
    if len(most) <= max(2, LARGE * pool.num_images):
        return ()
    what = "images are alike, each to another one, as those of a video, and stay on one side"
    mend = "data.keep_alike=false divides them too, for figures that flatter"
    return (Finding(what, len(most), pool.names[most[0]], mend=mend),)


def _names(split: Split) -> list[str]:
    return [split.names[index] for index in range(split.num_images)]
