"""Files that could not be read as annotated, said once each."""

from __future__ import annotations

import logging

logger = logging.getLogger("detbox")


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
