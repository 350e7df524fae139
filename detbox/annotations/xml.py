"""XML of annotation tools, parsed without document types, so that no entity can grow or fetch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from xml.etree.ElementTree import Element, ParseError, XMLPullParser, fromstring

from detbox.annotations.texts import LARGEST, decoded, read_bytes
from detbox.errors import DataError

DECLARED = re.compile(rb"""<\?xml[^>]{0,200}encoding=["']([A-Za-z][\w.-]{0,30})["']""")
ROOT = re.compile(r"<([A-Za-z_][\w.-]*)")
HEAD = 2**14
"""bytes in which the first element stands"""
PIECE = 2**16


def root_name(file: Path) -> str:
    """Name of the first element, without parsing; empty: it is no XML."""
    try:
        with file.open("rb") as stream:
            head = stream.read(HEAD)
    except OSError:
        return ""
    match = ROOT.search(re.sub(r"<!--.*?-->", "", decoded(head), flags=re.DOTALL))
    return match[1] if match else ""


def read_xml(file: Path) -> Element:
    """The root of a file.

    Raises:
        MissingFileError: there is no such file.
        DataError: it is no XML, or has a document type.
    """
    try:
        return fromstring(_text(file, LARGEST))
    except (ParseError, ValueError) as error:
        raise _broken(file, error) from None


def elements(file: Path, largest: int) -> Iterator[tuple[str, Element]]:
    """(`start` | `end`, element) of a large file, piece by piece; the caller clears them.

    Raises:
        MissingFileError: there is no such file.
        DataError: it is no XML, or has a document type.
    """
    text = _text(file, largest)
    parser: XMLPullParser[Any] = XMLPullParser(("start", "end"))
    try:
        for start in range(0, len(text), PIECE):
            parser.feed(text[start : start + PIECE])
            yield from cast("Iterator[tuple[str, Element]]", parser.read_events())
        parser.close()
    except (ParseError, ValueError) as error:
        raise _broken(file, error) from None


def _text(file: Path, largest: int) -> str:
    content = read_bytes(file, largest)
    text = decoded(content)
    if (match := DECLARED.match(content)) and match[1].lower() not in (b"utf-8", b"utf8"):
        try:
            text = content.decode(match[1].decode())
        except (LookupError, ValueError):
            text = decoded(content)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataError(f"{file} has a document type, which is not read; delete <!DOCTYPE …>")
    return text.lstrip("\ufeff \n\r\t")


def _broken(file: Path, error: Exception) -> DataError:
    return DataError(f"{file} is no valid XML ({error}); export it again")
