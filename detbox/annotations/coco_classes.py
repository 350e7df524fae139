"""`categories` of a COCO file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from detbox.annotations.document import Entry
from detbox.annotations.entries import Place, whole
from detbox.annotations.findings import Finding
from detbox.annotations.ids import Ids, fit_int64, given_keys, refuse_repeated
from detbox.errors import DataError
from detbox.messages import shown, some
from detbox.structures import LabelSpace


class ClassList(NamedTuple):
    """What the list says."""

    space: LabelSpace
    ids: Ids
    findings: tuple[Finding, ...]


def read_classes(entries: list[Entry], file: Path) -> ClassList:
    """The classes of a file in the order of their ids.

    Ids that are no 64-bit numbers are replaced by 1 to K, in the order of the file.

    Raises:
        DataError: a class lacks an id or a name, or two have one id.
    """
    places = [Place(file, "categories", index, entry) for index, entry in enumerate(entries)]
    keys = given_keys(places)
    refuse_repeated(keys, "category", places)
    names = [_name(place) for place in places]
    findings: tuple[Finding, ...] = ()
    numbers = {key: position + 1 for position, key in enumerate(keys)}
    if fit_int64(keys):
        numbers = {key: int(key) for key in keys}
    else:
        told = "categories numbered from 1 on, since not all ids are whole numbers of 64 bits"
        findings = (Finding(told, len(keys), shown(keys[0]), defect=False),)
    order = sorted(range(len(keys)), key=lambda position: numbers[keys[position]])
    space = LabelSpace(tuple(names[i] for i in order), tuple(numbers[keys[i]] for i in order))
    known = {keys[i]: label for label, i in enumerate(order)}
    ids = Ids("category_id", known, lambda: zip(space.names, range(len(space)), strict=True))
    return ClassList(space, ids, findings)


def refuse_shifted(
    values: Sequence[Any], labels: np.ndarray, classes: ClassList, file: Path
) -> None:
    """Annotations that count the classes from another number on than the list does.

    Their unknown ids would be dropped, and all others taken for the next class.

    Raises:
        DataError: some ids are unknown, and all are known when one is added or taken away.
    """
    if (labels >= 0).all():
        return
    used = {whole(value) if isinstance(value, int | float | str) else None for value in values}
    for shift in (1, -1):
        if all(number is not None and number + shift in classes.ids.known for number in used):
            there = zip(classes.space.category_ids, classes.space.names, strict=True)
            unknown = sorted({str(each) for each in used if each not in classes.ids.known})
            raise DataError(
                f"{file}: category_id {some(unknown)} is not among the categories "
                f"{some([f'{number} ({name})' for number, name in there])}, but all annotations "
                f"fit with {shift:+d}: they count from another number; renumber one of the two"
            )


def _name(place: Place) -> str:
    name = place.entry.get("name")
    if isinstance(name, bool) or not isinstance(name, str | int | float):
        raise place.wrong("name", "the name of a class, as text")
    # Half of a surrogate pair can be written in JSON, but not printed.
    return str(name).encode("utf-8", "replace").decode()
