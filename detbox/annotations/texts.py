"""Text files of annotations: any Unicode encoding, old ones where there is no other, never huge."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

from detbox.errors import DataError, MissingFileError

LARGEST = 2**26
"""bytes of a file that is about one picture, or lists names; more is no such file"""
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(file: Path, largest: int = LARGEST) -> str:
    """The text of a file, with `\\n` for every line break.

    UTF-8, and UTF-16 and -32 with their mark; bytes that are none of these are taken as Latin-1.

    Raises:
        MissingFileError: there is no such file.
        DataError: it cannot be read, or is too large.
    """
    return decoded(read_bytes(file, largest)).replace("\r\n", "\n").replace("\r", "\n")


def read_bytes(file: Path, largest: int = LARGEST) -> bytes:
    """The content of a regular file.

    Raises:
        MissingFileError: there is no such file.
        DataError: it cannot be read, or is too large.
    """
    path = os.fspath(file)
    if not os.path.isfile(path):
        raise MissingFileError(
            f"expected annotations at {file}, there is no such file; set data.root"
        )
    try:
        with open(path, "rb", buffering=0) as stream:
            content = stream.read(largest + 1)
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error}); mend its permissions") from None
    if len(content) > largest:
        raise DataError(
            f"{file} has more than {largest} bytes, too many for an annotation file of its kind; "
            "split it, or move it out of the folder"
        )
    return content


def decoded(content: bytes) -> str:
    """Bytes as text, by their mark, as UTF-8, or else as Latin-1."""
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return content.decode("latin-1")
