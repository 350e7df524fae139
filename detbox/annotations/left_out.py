"""What a reader cannot read of its files: counted with a first example, or too much of it."""

from __future__ import annotations

from pathlib import Path

from detbox.annotations.findings import Finding
from detbox.errors import DataError


class LeftOut:
    """Things left out, by what they are; the whole set is refused where they are half of it."""

    def __init__(self, root: Path, unit: str) -> None:
        self._root = root
        self._unit = unit
        self._first: dict[tuple[str, str], str] = {}
        self._number: dict[tuple[str, str], int] = {}
        self.read = 0
        """units looked at so far"""

    def add(self, what: str, example: str, mend: str = "") -> None:
        """One of them; `what` goes behind the unit."""
        key = (what, mend)
        self._first.setdefault(key, example)
        self._number[key] = self._number.get(key, 0) + 1

    def findings(self) -> tuple[Finding, ...]:
        """What has been left out.

        Raises:
            DataError: half of all units or more, for one reason.
        """
        for (what, mend), number in self._number.items():
            if 2 * number >= self.read:
                first = self._first[what, mend]
                raise DataError(
                    f"{self._root}: {number} of {self.read} {self._unit} {what} "
                    f"(first: {first}); {mend}"
                )
        return tuple(
            Finding(f"{self._unit} {what}", number, self._first[what, mend], mend=mend)
            for (what, mend), number in self._number.items()
        )
