"""`categories` of a COCO file."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from detbox.annotations.entries import Entry, Place
from detbox.annotations.findings import Finding
from detbox.annotations.ids import Ids, fit_int64, given_keys, refuse_repeated
from detbox.messages import shown
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
    named = zip(keys, names, strict=True)
    space = LabelSpace.from_categories([{"id": numbers[key], "name": name} for key, name in named])
    known = {key: space.category_ids.index(number) for key, number in numbers.items()}
    ids = Ids("category_id", known, lambda: zip(space.names, range(len(space)), strict=True))
    return ClassList(space, ids, findings)


def _name(place: Place) -> str:
    name = place.entry.get("name")
    if isinstance(name, bool) or not isinstance(name, str | int | float):
        raise place.wrong("name", "the name of a class, as text")
    # Half of a surrogate pair can be written in JSON, but not printed.
    return str(name).encode("utf-8", "replace").decode()
