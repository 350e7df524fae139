"""What reading has found already, where no rule says it better."""

from __future__ import annotations

from collections.abc import Iterator

from detbox.annotations.findings import Finding
from detbox.checking.rules import RULES, Found, Severity, rule
from detbox.checking.subject import Subject
from detbox.messages import printable

LOST = ("dropped", "left out")
"""words of findings that tell of something that training does not get to see"""


@rule("warning", "", "export the annotations again without it; fix=NEW writes what was read")
def found_in_reading(subject: Subject) -> Iterator[Found]:
    """What the reader of the format has mended or left out."""
    covered = {what for each in RULES.values() for what in each.covers}
    said: set[Finding] = set()
    for part in subject.parts:
        for finding in part.split.findings:
            if finding.what not in covered and (part.own.all() or finding not in said):
                yield Found(_told(finding), finding.number, part.name, (), _severity(finding))
        said.update(part.split.findings)


def _told(finding: Finding) -> str:
    """Counted, with the example, and how to mend it."""
    first = f" (first: {printable(finding.example)})" if finding.example else ""
    return f"{finding.counted}{first}" + (f": {finding.mend}" if finding.mend else "")


def _severity(finding: Finding) -> Severity:
    if not finding.defect:
        return "note"
    return "error" if any(word in finding.what for word in LOST) else "warning"
