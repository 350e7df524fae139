"""What was checked, how far it was off, and what nobody knew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from parity.tolerances import EXACT, TINY, Rule, Tolerance, distance, tolerance_of


class Check(NamedTuple):
    """One compared tensor."""

    tensor: str
    error: float
    tolerance: Tolerance

    @property
    def passed(self) -> bool:
        """Whether the error keeps within the limit."""
        return self.error <= self.tolerance.limit


@dataclass
class Report:
    """All that happened to the tensors of one file."""

    file: str
    checks: list[Check] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    """fed to our code, so there is nothing to compare"""
    unknown: list[str] = field(default_factory=list)
    """recorded, but nothing of ours answers for them"""
    aside: dict[str, str] = field(default_factory=dict)
    """recorded, but not to be compared, and why"""
    notes: list[str] = field(default_factory=list)

    def compare(
        self,
        recorded: Mapping[str, Tensor],
        ours: Mapping[str, Tensor],
        rules: tuple[Rule, ...] = TINY,
    ) -> None:
        """Check each recorded tensor against ours of the same name."""
        for name in sorted(recorded):
            if name in ours:
                self.add(name, ours[name], recorded[name], rules)
            elif name not in self.inputs and name not in self.aside:
                self.unknown.append(name)

    def count(self, names: Iterable[str]) -> None:
        """Note names that were compared as they are."""
        self.checks += [Check(name, 0.0, EXACT) for name in names]

    def add(
        self, name: str, ours: Tensor, recorded: Tensor, rules: tuple[Rule, ...] = TINY
    ) -> None:
        """Check one tensor."""
        tolerance = tolerance_of(name, recorded, rules)
        self.checks.append(Check(name, distance(ours, recorded, tolerance.measure), tolerance))

    def note_if(self, condition: bool, sentence: str) -> None:
        """Say something beside the figures where `condition` holds."""
        if condition:
            self.notes.append(sentence)

    @property
    def faults(self) -> list[str]:
        """One line per tensor that is off or unknown."""
        off = [_row(check) for check in self.checks if not check.passed]
        return off + [f"{name}: nothing in the harness answers for it" for name in self.unknown]

    def verify(self) -> None:
        """Fail with all faults, or where nothing was compared."""
        assert self.checks, f"{self.file}: nothing was compared"
        assert not self.faults, f"{self.file}\n" + "\n".join(self.faults)

    def summary(self) -> str:
        """One line: counts and the worst check."""
        worst = max(self.checks, key=_share, default=None)
        line = f"{self.file}: {len(self.checks)} checked, {len(self.inputs)} inputs, "
        line += f"{len(self.aside)} set aside, {len(self.unknown)} unknown"
        return line + (f"; nearest to its limit {_row(worst)}" if worst else "")

    def remarks(self) -> list[str]:
        """The notes, and what was set aside."""
        reasons = dict.fromkeys(self.aside.values())
        names = {why: [n for n, reason in self.aside.items() if reason == why] for why in reasons}
        return [*self.notes, *(f"{why}: {', '.join(each)}" for why, each in names.items())]

    def table(self) -> Iterable[str]:
        """One line per checked tensor, worst first."""
        return [f"  {_row(check)}" for check in sorted(self.checks, key=_share, reverse=True)]


def _share(check: Check) -> float:
    if not check.tolerance.limit:
        return check.error
    return check.error / check.tolerance.limit


def _row(check: Check) -> str:
    measure, limit = check.tolerance
    verdict = "" if check.passed else "  FAILED"
    return f"{check.tensor}: {check.error:.1e} {measure} of {limit:.0e}{verdict}"
