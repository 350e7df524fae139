"""Small data sets as other people's tools leave them, and what becomes of each."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from pycocotools import mask

SIDE = 32
BOXES = ([4, 4, 12, 8], [20, 16, 8, 12])
COUNT = 2
"""pictures of a split"""

Document = dict[str, Any]
Spoil = Callable[[Document, Path], object]
"""(document, folder of the pictures) -> what is written in its place; None: the document itself"""


class Odd(NamedTuple):
    """One odd data set."""

    kind: str
    name: str
    spoil: Spoil
    sentence: str = ""
    """pattern of the error, or where it is read, of the summary"""
    boxes: int | None = None
    """to learn from; None: it is refused"""

    def __str__(self) -> str:
        """`kind, name`."""
        return f"{self.kind}: {self.name}"


def flawless(split: str) -> Document:
    """A document without a fault."""
    images = [
        {"id": i + 1, "file_name": f"{split}{i}.png", "width": SIDE, "height": SIDE}
        for i in range(COUNT)
    ]
    annotations = [
        {"id": 2 * i + j, "image_id": i + 1, "category_id": j + 1, "bbox": list(box), "iscrowd": 0}
        for i in range(COUNT)
        for j, box in enumerate(BOXES)
    ]
    categories = [{"id": 1, "name": "bolt"}, {"id": 2, "name": "nut"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_odd(root: Path, spoil: Spoil | None = None) -> Path:
    """A data set in COCO's layout, spoilt."""
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        folder = root / split
        folder.mkdir()
        document = flawless(split)
        for image in document["images"]:
            Image.radial_gradient("L").resize((SIDE, SIDE)).save(folder / image["file_name"])
        content = spoil(document, folder) if spoil else None
        if not isinstance(content, bytes):
            content = json.dumps(document if content is None else content).encode()
        (root / "annotations" / f"instances_{split}.json").write_bytes(content)
    return root


def every(entries: str, **fields: Any) -> Spoil:
    """Set fields of all entries of a list; a function is given the old value, `...` deletes."""

    def spoil(document: Document, folder: Path) -> None:
        for entry in document[entries]:
            _set(entry, fields)

    return spoil


def first(entries: str, **fields: Any) -> Spoil:
    """Set fields of the first entry."""

    def spoil(document: Document, folder: Path) -> None:
        _set(document[entries][0], fields)

    return spoil


def written(encoding: str) -> Spoil:
    """The document in another encoding, with a name that is not ASCII."""

    def spoil(document: Document, folder: Path) -> bytes:
        document["categories"][0]["name"] = "Möhre"
        return json.dumps(document, ensure_ascii=False).encode(encoding)

    return spoil


def both(*spoils: Spoil) -> Spoil:
    """One after the other; the last one's content counts."""

    def spoil(document: Document, folder: Path) -> object:
        return [each(document, folder) for each in spoils][-1]

    return spoil


def moved(to: str) -> Spoil:
    """The pictures lie under another path; `{}` is the name."""

    def spoil(document: Document, folder: Path) -> None:
        for image in document["images"]:
            place = folder / to.format(image["file_name"])
            place.parent.mkdir(parents=True, exist_ok=True)
            (folder / image["file_name"]).rename(place)

    return spoil


def named(name: str, here: str = "{}") -> Spoil:
    """Another `file_name` for pictures that lie `here`."""

    def spoil(document: Document, folder: Path) -> None:
        moved(here)(document, folder)
        every("images", file_name=lambda old: name.format(old, split=folder.name))(document, folder)

    return spoil


def again(entries: str, **fields: Any) -> Spoil:
    """The first entry once more at the end, with other fields."""

    def spoil(document: Document, folder: Path) -> None:
        document[entries].append(dict(document[entries][0]))
        _set(document[entries][-1], fields)

    return spoil


def content(text: str) -> Spoil:
    """Another text altogether."""
    return lambda document, folder: text.encode()


def as_runs(entry: Document, compressed: bool) -> None:
    """The box as a run-length code."""
    left, top, width, height = entry.pop("bbox")
    pixels = np.zeros((SIDE, SIDE), np.uint8, order="F")
    pixels[top : top + height, left : left + width] = 1
    code = mask.encode(pixels)
    counts: Any = code["counts"].decode()
    if not compressed:
        ends = np.flatnonzero(np.diff(np.concatenate(([0], pixels.ravel("F"), [2]))))
        counts = np.diff(np.concatenate(([0], ends))).tolist()
    entry["segmentation"] = {"size": [SIDE, SIDE], "counts": counts}


def masks(make: Callable[[Document], None]) -> Spoil:
    """Masks in place of boxes."""

    def spoil(document: Document, folder: Path) -> None:
        for entry in document["annotations"]:
            make(entry)

    return spoil


def as_polygon(entry: Document) -> None:
    """The box as a polygon."""
    left, top, width, height = entry.pop("bbox")
    right, bottom = left + width, top + height
    entry["segmentation"] = [[left, top, right, top, right, bottom, left, bottom]]


def by_file_name(ending: str) -> Spoil:
    """Annotations refer to images by their names, with an ending or without."""

    def spoil(document: Document, folder: Path) -> None:
        refer = every("annotations", image_id=lambda i: f"{folder.name}{i - 1}{ending}")
        refer(document, folder)

    return spoil


def decomposed(document: Document, folder: Path) -> None:
    """Composed in the file, decomposed on the disk."""
    for i, image in enumerate(document["images"]):
        name = f"caf\u00e9{i}.png"
        (folder / image["file_name"]).rename(folder / unicodedata.normalize("NFD", name))
        image["file_name"] = name


def _set(entry: Document, fields: dict[str, Any]) -> None:
    for key, value in fields.items():
        if value is ...:
            del entry[key]
        else:
            entry[key] = value(entry[key]) if callable(value) else value


ALL = COUNT * len(BOXES)
NOTHING, TYPE, SPELLING = "keeps nothing", "wrong type", "other spelling"
SPELT = "2 image files found under another spelling"
ODD = (
    Odd(NOTHING, "all are crowds", every("annotations", iscrowd=1), "4 crowd.*set 'iscrowd' to 0"),
    Odd(NOTHING, "crowd as text", every("annotations", iscrowd="0"), "", ALL),
    Odd(NOTHING, "crowd as words", every("annotations", iscrowd="False"), "", ALL),
    Odd(NOTHING, "crowd is null", every("annotations", iscrowd=None), "", ALL),
    Odd(NOTHING, "polygons", masks(as_polygon), "4 boxes taken from masks", ALL),
    Odd(NOTHING, "codes", masks(lambda e: as_runs(e, True)), "4 boxes taken from masks", ALL),
    Odd(NOTHING, "runs", masks(lambda e: as_runs(e, False)), "4 boxes taken from masks", ALL),
    Odd(NOTHING, "null boxes", every("annotations", bbox=None), "without a valid bbox.*give each"),
    Odd(NOTHING, "one crowd", first("annotations", iscrowd=1), "1 of 4 annotations is left out", 3),
    Odd(NOTHING, "boxes as text", every("annotations", bbox=lambda b: list(map(str, b))), "", ALL),
    Odd(NOTHING, "boxes as one text", every("annotations", bbox=str), "", ALL),
    Odd(
        NOTHING,
        "images from 0",
        every("annotations", image_id=lambda i: i - 1),
        r"image_id 0 is not among 1 \(train0.*fit with \+1",
    ),
    Odd(NOTHING, "category ids as text", every("annotations", category_id=str), "", ALL),
    Odd(NOTHING, "category ids as floats", every("annotations", category_id=float), "", ALL),
    Odd(
        NOTHING,
        "categories by name",
        every("annotations", category_id=lambda i: ("", "bolt", "nut")[i]),
        "",
        ALL,
    ),
    Odd(NOTHING, "image ids as text", every("annotations", image_id=lambda i: f"{i:06d}"), "", ALL),
    Odd(NOTHING, "images by name", by_file_name(".png"), "", ALL),
    Odd(NOTHING, "images by stem", by_file_name(""), "", ALL),
    Odd(
        NOTHING,
        "names as ids",
        both(
            every("images", id=lambda i: f"picture {i}"),
            every("annotations", image_id=lambda i: f"picture {i}"),
        ),
        "2 images numbered from 1 on",
        ALL,
    ),
    Odd(
        NOTHING,
        "unknown images",
        every("annotations", image_id=lambda i: i + 10),
        r"4 boxes of unknown images.*image_id 11, 12, known are 1 ",
    ),
    Odd(NOTHING, "no image ids", every("annotations", image_id=...), "image_id None, known are 1 "),
    Odd(
        NOTHING,
        "no list",
        lambda d, f: d.update(annotations=None),
        "no annotations of its 2 images",
    ),
    Odd(NOTHING, "empty list", lambda d, f: d["annotations"].clear(), "no annotations of its 2"),
    Odd(
        NOTHING,
        "classes from 0",
        every("annotations", category_id=lambda i: i - 1),
        r"category_id 0 is not among 1 \(bolt\), 2 \(nut\).*fit with \+1",
    ),
    Odd(
        NOTHING,
        "classes from 2",
        every("annotations", category_id=lambda i: i + 1),
        r"category_id 3 is not among .*fit with -1",
    ),
    Odd(
        NOTHING,
        "unknown class",
        first("annotations", category_id=44),
        r"category_id 44, known are 1 \(bolt\), 2 \(nut\)",
        3,
    ),
    Odd(
        NOTHING, "no area", every("annotations", bbox=[4, 4, 0, 0]), "4 zero-area boxes.*give width"
    ),
    Odd(
        NOTHING,
        "shares",
        every("annotations", bbox=lambda b: [each / SIDE for each in b]),
        "all 4 boxes lie within one pixel.*multiply by its width and height",
    ),
    Odd(
        NOTHING,
        "two corners",
        every("annotations", bbox=[16, 16, 28, 24]),
        r"4 of 4 boxes leave their images.*\[left, top, right, bottom\]",
    ),
    Odd(NOTHING, "outside", every("annotations", bbox=[99, 99, 4, 4]), "4 boxes outside the image"),
    Odd(
        TYPE,
        "huge ids",
        both(
            every("images", id=lambda i: i + 2**64),
            every("annotations", image_id=lambda i: i + 2**64, id=lambda i: i + 2**64),
        ),
        "2 images numbered from 1 on",
        ALL,
    ),
    Odd(
        TYPE,
        "huge category ids",
        both(
            every("categories", id=lambda i: i + 2**64),
            every("annotations", category_id=lambda i: i + 2**64),
        ),
        "2 categories numbered from 1 on",
        ALL,
    ),
    Odd(TYPE, "null id", first("images", id=None), r"images\[0\]: 'id' is None, expected a whole"),
    Odd(
        TYPE, "list as id", first("images", id=[1]), r"images\[0\]: 'id' is \[1\], expected a whole"
    ),
    Odd(TYPE, "true as id", first("images", id=True), r"images\[0\]: 'id' is True"),
    Odd(TYPE, "NaN as id", first("images", id=float("nan")), r"images\[0\]: 'id' is nan"),
    Odd(TYPE, "no id", first("images", id=...), r"images\[0\]: 'id' is missing, expected"),
    Odd(TYPE, "no category id", first("categories", id=...), r"categories\[0\]: 'id' is missing"),
    Odd(TYPE, "list as category", first("annotations", category_id=[1]), r"category_id \[1\]", 3),
    Odd(TYPE, "object as image", first("annotations", image_id={}), r"image_id \{\}, known", 3),
    Odd(TYPE, "list as number", every("annotations", id=[1]), "", ALL),
    Odd(
        TYPE, "odd crowd", first("annotations", iscrowd=[]), r"annotations\[0\] \(id 0\): 'iscrowd'"
    ),
    Odd(TYPE, "box is an object", first("annotations", bbox={"x": 1}), "without a valid bbox", 3),
    Odd(TYPE, "infinite box", first("annotations", bbox=[0, 0, 1e999, 1]), "without a valid", 3),
    Odd(TYPE, "400-digit box", first("annotations", bbox=[0, 0, 10**400, 1]), "without a valid", 3),
    Odd(TYPE, "huge box", first("annotations", bbox=[1e308] * 4), "without a valid bbox", 3),
    Odd(TYPE, "odd area", every("annotations", area="large"), "", ALL),
    Odd(
        TYPE, "infinite width", first("images", width=1e999), r"\(id 1\): 'width' is inf, expected"
    ),
    Odd(
        TYPE, "400-digit width", first("images", width=10**400), "'width' is 1000.*expected a whole"
    ),
    Odd(TYPE, "no width", first("images", width=...), r"images\[0\] \(id 1\): 'width' is missing"),
    Odd(TYPE, "null height", first("images", height=None), "'height' is None, expected a whole"),
    Odd(TYPE, "no height", first("images", height=0), "'height' is 0, expected a whole number of"),
    Odd(TYPE, "sizes as text", every("images", height=str, width=str), "", ALL),
    Odd(TYPE, "sizes as floats", every("images", height=float, width=float), "", ALL),
    Odd(TYPE, "number as name", first("categories", name=7), "", ALL),
    Odd(
        TYPE,
        "null as name",
        first("categories", name=None),
        r"categories\[0\] \(id 1\): 'name' is N",
    ),
    Odd(TYPE, "half a character", first("categories", name="a\ud800"), "", ALL),
    Odd(TYPE, "null file", first("images", file_name=None), r"\(id 1\): 'file_name' is None"),
    Odd(TYPE, "list as file", first("images", file_name=["a"]), r"'file_name' is \['a'\]"),
    Odd(
        TYPE, "NUL in a file's name", first("images", file_name="a\0b"), r"'file_name' is 'a\\x00b'"
    ),
    Odd(TYPE, "half a file", first("images", file_name="\ud800.png"), "1 image file missing", ALL),
    Odd(
        TYPE,
        "line breaks in a file's name",
        first("images", file_name="a\n.png"),
        r"image file missing \(first: a\\n.png",
        ALL,
    ),
    Odd(TYPE, "image twice", again("images"), "1 repeated entry of images left out", ALL),
    Odd(
        TYPE,
        "two images of one id",
        again("images", file_name="other.png"),
        r"image ids must be unique, 1 are repeated \(first: 1 of images\[0\] and \[2\]\)",
    ),
    Odd(TYPE, "one file twice", again("images", id=9), "1 image that shares a file", ALL),
    Odd(TYPE, "class twice", again("categories"), r"category ids must be unique.*\[0\] and \[2\]"),
    Odd(TYPE, "annotation twice", again("annotations"), "1 repeated annotation dropped", ALL),
    Odd(TYPE, "two annotations of one id", again("annotations", bbox=[1, 1, 5, 5]), "", ALL + 1),
    Odd(TYPE, "entry is a list", lambda d, f: d["images"].append([]), r"images\[2\] is \[\]"),
    Odd(TYPE, "list at the top", lambda d, f: [d], "holds a list at the top"),
    Odd(
        TYPE,
        "detections",
        lambda d, f: [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "score": 0.5}],
        "detections .COCO results., not annotations",
    ),
    Odd(TYPE, "text at the top", content('"images"'), "lacks 'images'"),
    Odd(TYPE, "images are an object", lambda d, f: d.update(images={}), "has 'images' as {}"),
    Odd(TYPE, "no images", lambda d, f: d["images"].clear(), "'images' is empty"),
    Odd(TYPE, "nested", content("[" * 10**5), "nested too deeply"),
    Odd(TYPE, "nested value", content('{"images": ' + '{"a":' * 10**5), "nested too deeply"),
    Odd(TYPE, "5000-digit id", content('{"images": ' + "1" * 5000 + "}"), "no valid JSON"),
    Odd(TYPE, "empty file", content(""), "no valid JSON"),
    Odd(TYPE, "half a document", content('{"images": ['), "no valid JSON"),
    Odd(TYPE, "UTF-8 with a mark", written("utf-8-sig"), "", ALL),
    Odd(TYPE, "UTF-16", written("utf-16"), "", ALL),
    Odd(TYPE, "UTF-16 without a mark", written("utf-16-be"), "", ALL),
    Odd(TYPE, "UTF-32", written("utf-32"), "", ALL),
    Odd(
        TYPE,
        "Latin-1",
        written("latin-1"),
        "no UTF-8: byte 0xf6 at position .*Möhre.*iconv -f LATIN1",
    ),
    Odd(SPELLING, "backslashes", named("images\\{}", "images/{}"), SPELT, ALL),
    Odd(SPELLING, "upper suffix", named("{}", "{}.PNG"), "none of the 2 images"),
    Odd(SPELLING, "letter case", every("images", file_name=str.upper), SPELT, ALL),
    Odd(SPELLING, "decomposed", decomposed, SPELT, ALL),
    Odd(SPELLING, "percent", named("a%20{}", "a {}"), SPELT, ALL),
    Odd(SPELLING, "percent on the disk", named("a {}", "a%20{}"), SPELT, ALL),
    Odd(SPELLING, "leading slash", named("/{}"), SPELT, ALL),
    Odd(SPELLING, "whole path", named("/home/me/pictures/{}"), SPELT, ALL),
    Odd(SPELLING, "drive", named("C:\\me\\{}"), SPELT, ALL),
    Odd(SPELLING, "dot", named("./{}"), "", ALL),
    Odd(SPELLING, "split in front", named("{split}/{}"), SPELT, ALL),
    Odd(SPELLING, "images in front", named("images/{}"), SPELT, ALL),
    Odd(SPELLING, "folder missing", named("{}", "images/{}"), SPELT, ALL),
    Odd(SPELLING, "folder doubled", named("{}", "{{split}}/{}"), SPELT, ALL),
    Odd(SPELLING, "folder of the other name", named("images/{}", "JPEGImages/{}"), SPELT, ALL),
    Odd(SPELLING, "beside the folder", moved("../images/{}"), SPELT, ALL),
    Odd(SPELLING, "address", named("https://example.org/a/{}?size=1"), SPELT, ALL),
    Odd(SPELLING, "broken address", named("http://[{}"), "none of the 2 images"),
    Odd(
        SPELLING,
        "address alone",
        every("images", file_name=..., coco_url="http://example.org/{}"),
        "none of the 2 images",
    ),
    Odd(
        SPELLING, "other suffix", every("images", file_name=lambda n: n[:-3] + "jpg"), "there is t"
    ),
    Odd(SPELLING, "outside", named("../../secret.png"), r"inside the folder .* without '\.\.'"),
    Odd(SPELLING, "outside, backslashes", named("..\\..\\secret.png"), r"without '\.\.'"),
    Odd(SPELLING, "system's file", named("/etc/passwd"), "none of the 2 images"),
)
