"""Count what was mended in the data, and say it: once, named, with an example."""

from __future__ import annotations

import logging

from lightning.pytorch.utilities.rank_zero import rank_zero_only

logger = logging.getLogger("detbox")


@rank_zero_only
def warn(message: str) -> None:
    """Log a warning, once however many ranks there are."""
    logger.warning("%s", message)


class Repairs:
    """Repairs of one annotation file, each with its number and its first example."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._defects = False

    def mend(self, what: str, count: int, example: str) -> None:
        """Count a defect that was worked around; raises the level of the report to a warning."""
        self._defects = True
        self.note(what, count, example)

    def note(self, what: str, count: int, example: str) -> None:
        """Count something lawful that a reader of the figures should know."""
        self._lines.append(f"{count} {what} (first: {example})")

    @rank_zero_only
    def report(self, title: str) -> None:
        """One log line: a warning where there were defects."""
        level = logging.WARNING if self._defects else logging.INFO
        logger.log(level, "%s", "; ".join((title, *self._lines)))


class FileTroubles:
    """Files that could not be read as annotated, met while batches are loaded.

    The first file of each kind is named at once, the rest are counted at the end of the pass.
    """

    def __init__(self, split: str) -> None:
        self._split = split
        self._files: dict[str, dict[str, None]] = {}
        self._told: dict[str, int] = {}

    def add(self, what: str, file: str) -> None:
        """Count a file; the same file in a later epoch is no news."""
        files = self._files.setdefault(what, {})
        files[file] = None
        if what not in self._told:
            logger.warning("%s: %s: %s", self._split, file, what)
            self._told[what] = 1

    def report(self) -> None:
        """Log the number of files of every kind that has grown since the last report."""
        for what, files in self._files.items():
            if len(files) > self._told[what]:
                examples = ", ".join(list(files)[:5])
                logger.warning("%s: %d files: %s: %s", self._split, len(files), what, examples)
                self._told[what] = len(files)
