"""The page stands alone, and shows names as they are, whatever is in them."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from planted import both, classes, looked_at, more, name, write

from detbox.checking import checked
from detbox.checking.page import MOST, page
from detbox.data.images import AUTOMATIC

VOID = {"meta", "br", "img"}


class Read(HTMLParser):
    """All tags, their attributes, and the text; fails where tags do not close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(key, value or "") for key, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_and_asks_for_nothing(tmp_path: Path) -> None:
    named = "<script>alert(1)</script>"
    plant = both(classes((1, "bolt"), (2, "nut"), (3, named), (4, "x")), more(30))
    report = checked(looked_at(write(tmp_path / "a <b> & é", plant)))
    html = page(report, f"Data of {tmp_path / 'a <b> & é'}", AUTOMATIC)
    read = Read()
    read.feed(html)
    assert not read.open
    assert "script" not in read.tags
    assert named in read.text
    assert name(0) in read.text
    links = [value for key, value in read.attributes if key in ("src", "href", "srcset", "style")]
    assert links
    assert all(value.startswith("data:image/jpeg;base64,") for value in links)
    assert not re.search(r"https?://|url\(|@import", html)
    assert len(links) <= MOST
