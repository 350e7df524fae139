"""Files that hold many pictures: which split such a file is of, by its folder or its own name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from detbox.annotations.pairing import split_of_file
from detbox.annotations.spelling import split_of

WORDS = re.compile(r"[^a-zA-Z0-9]+")


def split_of_document(path: str) -> str | None:
    """`train`, `val` or `test`: a word of the name (`train_labels.csv`), else the folder."""
    words = WORDS.split(path.rpartition("/")[2].rpartition(".")[0].casefold())
    return split_of(words) or split_of_file(path)


def split_called(text: str) -> str | None:
    """What an entry says of its split: `Train`, `validation`, `VALID`, `test-dev`."""
    return split_of(WORDS.split(text.strip().casefold()))


def documents_of_split(files: Sequence[str], split: str) -> list[str]:
    """The files of a split; all of them where `split` is empty."""
    return [each for each in files if not split or split_of_document(each) == split]
