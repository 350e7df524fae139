"""Columns of CSV files of boxes, under the names that people's tools give them."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from detbox.annotations.entries import FARTHEST
from detbox.annotations.texts import decoded, read_text

MEANINGS = {
    "file": "filename|file|file_name|image|img|image_path|img_path|path|image_name|filepath|"
    "image_id|imageid|image_file|fname",
    "label": "class|label|name|category|class_name|category_name|label_name|labelname|classname|"
    "object|target|category_id|class_id|label_id",
    "width": "width|image_width|img_width|imagewidth",
    "height": "height|image_height|img_height|imageheight",
    "left": "xmin|x_min|x1|left|bbox_x1|x0|bbox_xmin",
    "top": "ymin|y_min|y1|top|bbox_y1|y0|bbox_ymin",
    "right": "xmax|x_max|x2|right|bbox_x2|bbox_xmax",
    "bottom": "ymax|y_max|y2|bottom|bbox_y2|bbox_ymax",
    "x": "x|bbox_x|bbox_left|box_x|bbox_0",
    "y": "y|bbox_y|bbox_top|box_y|bbox_1",
    "across": "w|bbox_w|bbox_width|box_w|box_width|bbox_2",
    "down": "h|bbox_h|bbox_height|box_h|box_height|bbox_3",
    "box": "bbox|box|bounding_box",
    "split": "split|set|subset|fold|usage|partition",
}
CORNERS, EXTENT = ("left", "top", "right", "bottom"), ("x", "y", "across", "down")
HEADERLESS = ("file", *CORNERS, "label")
"""as RetinaNet's CSV has them"""
LARGEST = 2**28
"""bytes of a file"""


class Row(NamedTuple):
    """One line: an object, or a picture without one."""

    number: int
    file: str
    label: str
    box: tuple[float, ...] | None
    """left, top, width, height; None: no object"""
    size: tuple[int, int] | None
    split: str


def columns_of(header: list[str]) -> dict[str, int]:
    """Meaning -> position; empty: it is no header of boxes."""
    names = [re.sub(r"[\s.\-]+", "_", each.strip(" \"'\ufeff").casefold()) for each in header]
    found: dict[str, int] = {}
    for meaning, known in MEANINGS.items():
        for name in known.split("|"):
            if name in names:
                found[meaning] = names.index(name)
                break
    plain = "width" in found and "x" in found and "across" not in found
    if plain and "down" not in found:  # x, y, width, height are the box's
        found["across"], found["down"] = found.pop("width"), found.pop("height", -1)
    boxed = any(set(each) <= set(found) for each in (CORNERS, EXTENT, ("box",)))
    return found if boxed and "file" in found and min(found.values()) >= 0 else {}


def layout(file: Path) -> tuple[dict[str, int], str, bool]:
    """Columns, what separates them, and whether there is a header; no columns: no boxes."""
    with file.open("rb") as stream:
        head = stream.read(2**14)
    lines = [line for line in decoded(head).splitlines() if line.strip()][:1]
    line = lines[0] if lines else ""
    separator = max(",;\t", key=line.count)
    first = next(csv.reader([line.replace("\0", "")], delimiter=separator), [])
    if found := columns_of(first):
        return found, separator, True
    numbers = [_number(each) for each in first[1:5]]
    full = len(first) == 6 and all(map(math.isfinite, numbers)) and first[5].strip() != ""
    empty = len(first) == 6 and not any(each.strip() for each in first[1:]) and first[0].strip()
    if full or empty:
        return {name: at for at, name in enumerate(HEADERLESS)}, separator, False
    return {}, separator, False


def rows(file: Path) -> Iterator[Row | int]:
    """Every line as a row; the number of a line that is none.

    Raises:
        DataError: the file cannot be read, or is too large.
    """
    columns, separator, header = layout(file)
    text = read_text(file, LARGEST).replace("\0", "")
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:  # such as a field without an end
            yield reader.line_num
            continue
        if (header and reader.line_num == 1) or not any(each.strip() for each in fields):
            continue
        yield _row(fields, columns, reader.line_num) or reader.line_num


def _row(fields: list[str], columns: dict[str, int], number: int) -> Row | None:
    def text(meaning: str) -> str:
        at = columns.get(meaning, len(fields))
        return fields[at].strip() if at < len(fields) else ""

    if not text("file"):
        return None
    size = None
    height, width = _number(text("height")), _number(text("width"))
    if 1 <= height < 2**31 and 1 <= width < 2**31:
        size = int(height), int(width)
    box = _box(text, columns)
    nothing = box is None or (not text("label") and not any(map(math.isfinite, box)))
    return Row(number, text("file"), text("label"), None if nothing else box, size, text("split"))


def _box(text: Callable[[str], str], columns: dict[str, int]) -> tuple[float, ...] | None:
    if set(CORNERS) <= set(columns):
        words = [text(each) for each in CORNERS]
    elif set(EXTENT) <= set(columns):
        words = [text(each) for each in EXTENT]
    else:
        words = [each for each in re.split(r"[\s,;\[\]()]+", text("box")) if each]
    if not any(words):
        return None
    numbers = [_number(each) for each in words] if len(words) == 4 else [math.nan] * 4
    if set(CORNERS) <= set(columns):
        numbers[2:] = numbers[2] - numbers[0], numbers[3] - numbers[1]
    return tuple(numbers)


def _number(text: str) -> float:
    try:
        number = float(text or "nan")
    except ValueError:
        return math.nan
    return number if abs(number) <= FARTHEST else math.nan
