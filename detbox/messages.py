"""Pieces of messages for people: nearest names, long lists, numbers as they are typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from reprlib import Repr
from typing import Any

EXAMPLE = "such as model=dino or model.num_queries=300"
"""of settings"""


def near(name: str, known: Sequence[str]) -> str:
    """The ending of an error message on an unknown name: the nearest ones, or the first 40."""
    matches = get_close_matches(name, known, n=3, cutoff=0.6)
    matches = matches or [each for each in known if name and name in each][:3]
    if matches:
        return f"; did you mean {' or '.join(map(repr, matches))}?"
    return f"; choose one of {some(known, 40)}"


def some(names: Sequence[str], shown: int = 5) -> str:
    """The first names and how many more there are, for a message; "none" if there are none."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return (", ".join(map(printable, names[:shown])) or "none") + more


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 class", "2 classes"."""
    if number == 1:
        return f"1 {noun}"
    hisses = noun.endswith(("s", "x", "ch")) and noun != "epoch"
    return f"{number} {noun}{'es' if hisses else 's'}"


def listed(values: Sequence[int]) -> str:
    """Numbers as they are typed on a command line, without spaces: `[8,16,32]`."""
    return f"[{','.join(map(str, values))}]"


def shown(value: object) -> str:
    """Any value of a file, short, on one line and printable, whatever it is."""
    return _BRIEF.repr(value)


def printable(text: str) -> str:
    """Text on one line as it is, but for line breaks and the like as Python writes them."""
    return "".join(
        each if each.isprintable() or each in _JOINERS else each.encode("unicode_escape").decode()
        for each in text
    )


def typed(key: str, value: str) -> str:
    """A setting as it is typed in a shell, whatever characters its value has."""
    if re.fullmatch(r"[\w./-]+", value, re.ASCII):
        return f"{key}={value}"
    text = f"{key}={quoted(value)}"
    return shlex.quote(text) if re.search(r'["$`\\!\n]', text) else f'"{text}"'


def quoted(text: str) -> str:
    """Text as a value that Hydra's grammar reads back as it is, whatever is in it."""
    # Hydra takes backslashes as they are, but for those before a quotation mark.
    escaped = re.sub(r"(\\*)('|\Z)", lambda end: end[1] * 2 + end[2].replace("'", "\\'"), text)
    return f"'{escaped}'"


def literal(text: str) -> str:
    """Text that OmegaConf takes as it is, though it may have `${` in it."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def taken_literally(tree: Any) -> Any:
    """The same of every text in mappings and lists."""
    if isinstance(tree, Mapping):
        return {key: taken_literally(value) for key, value in tree.items()}
    if isinstance(tree, Sequence) and not isinstance(tree, str):
        return [taken_literally(value) for value in tree]
    return literal(tree) if isinstance(tree, str) else tree


_JOINERS = "\u200c\u200d"
"""invisible, but part of emoji and of words in Arabic and Indic scripts"""
_BRIEF = Repr()
_BRIEF.maxlevel, _BRIEF.maxdict, _BRIEF.maxlist = 2, 3, 4
_BRIEF.maxstring = _BRIEF.maxlong = _BRIEF.maxother = 60
