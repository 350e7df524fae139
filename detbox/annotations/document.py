"""An annotation file as lists of entries: encodings, syntax, and what it should hold at the top."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from detbox.annotations.columns import Entries
from detbox.annotations.entries import Entry
from detbox.annotations.typed import read_typed
from detbox.errors import DataError, MissingFileError
from detbox.messages import shown, some

LISTS = ("images", "annotations", "categories")


def read_document(file: Path, lists: Sequence[str] = LISTS) -> dict[str, Any]:
    """Lists of a COCO file: entries, and for `annotations` their `Columns`.

    UTF-8, -16 and -32 are read, with or without a byte order mark; `annotations` may be missing.

    Args:
        file: the file.
        lists: what is needed of it.

    Raises:
        MissingFileError: there is no such file.
        DataError: it is no JSON, or no COCO annotation file.
    """
    if (typed := read_typed(file, lists)) is not None:
        return typed
    document = _read_json(file)
    if isinstance(document, list):
        _refuse_list(document, file)
    if isinstance(document, dict) and document.get("annotations") is None:
        document["annotations"] = []
    for key in lists:
        if not isinstance(document, dict) or not isinstance(document.get(key), list):
            other = isinstance(document, dict) and document.get(key) is not None
            told = f"has {key!r} as {shown(document[key])}" if other else f"lacks {key!r}"
            raise DataError(
                f"expected a COCO file with the lists {some(lists)}, "
                f"{file} {told}; export it as 'COCO detection'"
            )
    found = {key: _objects(document[key], key, file) for key in lists}
    return {**found, "annotations": Entries(found.get("annotations", []))}


def _read_json(file: Path) -> Any:
    if not file.is_file():
        raise MissingFileError(
            f"expected COCO annotations at {file}, there is no such file; "
            "set data.root, or data.train_images and data.train_annotations, "
            "data.val_images and data.val_annotations"
        )
    try:
        return json.loads(file.read_bytes())
    except UnicodeDecodeError as error:
        raise _misencoded(file, error) from None
    except RecursionError:
        raise DataError(
            f"{file} is nested too deeply for an annotation file; export it again"
        ) from None
    except (OSError, ValueError) as error:
        told = "cannot be read" if isinstance(error, OSError) else "is no valid JSON"
        raise DataError(f"{file} {told} ({error}); export or download it again") from None


def _misencoded(file: Path, error: UnicodeDecodeError) -> DataError:
    around = error.object[max(0, error.start - 20) : error.end + 10].decode("latin-1")
    byte = f"byte 0x{error.object[error.start]:02x} at position {error.start}"
    advice = "export or download it again"
    if error.encoding.startswith("utf-8"):
        old, new = (shlex.quote(str(each)) for each in (file, f"{file}.utf8"))
        advice = f"if it is Latin-1: iconv -f LATIN1 -t UTF-8 {old} > {new} && mv {new} {old}"
    return DataError(f"{file} is no {error.encoding.upper()}: {byte}, in {shown(around)}; {advice}")


def _refuse_list(document: list[Any], file: Path) -> NoReturn:
    first = document[0] if document else None
    results = isinstance(first, dict) and "score" in first
    told = "detections (COCO results), not annotations" if results else "a list at the top"
    raise DataError(
        f"expected a COCO file with the lists images, annotations and categories, {file} holds "
        f"{told}; give the annotation file, exported as 'COCO detection'"
    )


def _objects(entries: list[Any], key: str, file: Path) -> list[Entry]:
    if not entries and key != "annotations":
        raise DataError(f"{file}: {key!r} is empty, expected at least one entry; mend the file")
    if not set(map(type, entries)) <= {dict}:
        index = next(i for i, entry in enumerate(entries) if not isinstance(entry, dict))
        raise DataError(
            f"{file}: expected {key!r} to hold objects only, {key}[{index}] is "
            f"{shown(entries[index])}; mend the file"
        )
    return entries
