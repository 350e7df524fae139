"""What all rules have found, worst first: as lines, and as JSON whose keys stay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from detbox.checking.rules import RULES, SEVERITIES, Found, Place, Rule, Severity
from detbox.checking.subject import Part, Subject
from detbox.messages import counted

VERSION = 1
"""of report.json; keys are added, never renamed, while it stays"""
EXAMPLES = 3
"""in a line"""


class Defect(NamedTuple):
    """What a rule has found, with what the rule says of it."""

    name: str
    rule: Rule
    found: Found

    @property
    def severity(self) -> Severity:
        """Of this one."""
        return self.found.severity or self.rule.severity


class Report(NamedTuple):
    """A data set and its defects."""

    subject: Subject
    defects: tuple[Defect, ...]
    """worst first"""

    @property
    def errors(self) -> list[Defect]:
        """Those that end the command with status 1."""
        return [each for each in self.defects if each.severity == "error"]

    def part(self, name: str) -> Part:
        """The split of a name."""
        return next(part for part in self.subject.parts if part.name == name)

    def summary(self) -> str:
        """`364 images, 4886 boxes, 3 classes: 1 error, 3 warnings, 4 notes`."""
        parts = self.subject.parts
        contents = {
            "image": sum(int(part.own.sum()) for part in parts),
            "box": sum(int(part.counts[part.own].sum()) for part in parts),
            "class": len(self.subject.names),
        }
        told = {s: sum(each.severity == s for each in self.defects) for s in SEVERITIES}
        left, right = (
            ", ".join(counted(number, noun) for noun, number in each.items())
            for each in (contents, told)
        )
        return f"{left}: {right}"

    def lines(self) -> Iterator[str]:
        """One for each defect."""
        for each in self.defects:
            examples = [self.named(place) for place in each.found.places[:EXAMPLES]]
            more = ", ..." if len(each.found.places) > EXAMPLES else ""
            told = f" ({', '.join(examples)}{more})" if examples else ""
            where = f" in {each.found.split}" if each.found.split and not examples else ""
            line = f"{each.severity:<8} {each.found.what}{where}{told}"
            yield ": ".join(filter(None, (line, each.rule.harm)))

    def named(self, place: Place) -> str:
        """`annotation 3153 of train's BloodImage_00338.jpg`."""
        part = self.part(place.split)
        name = part.called(place.image)
        ids = [str(part.split.object_ids[at]) for at in place.objects]
        return f"annotation {', '.join(ids)} of {name}" if ids else name

    def as_json(self) -> dict[str, Any]:
        """Plain containers."""
        return {
            "version": VERSION,
            "status": 1 if self.errors else 0,
            "splits": {part.name or "all": _counts(part) for part in self.subject.parts},
            "defects": [self._defect(each) for each in self.defects],
        }

    def _defect(self, each: Defect) -> dict[str, Any]:
        return {
            "rule": each.name,
            "severity": each.severity,
            "split": each.found.split or None,
            "number": each.found.number,
            "what": each.found.what,
            "harm": each.rule.harm,
            "mend": each.rule.mend,
            "examples": [self._example(place) for place in each.found.places],
        }

    def _example(self, place: Place) -> dict[str, Any]:
        split = self.part(place.split).split
        own = list(place.objects)
        return {
            "split": place.split or None,
            "file": split.names[place.image],
            "image_id": int(split.image_ids[place.image]),
            "annotation_ids": split.object_ids[own].tolist(),
            "boxes": split.boxes[own].tolist(),
            "note": place.note,
        }


def checked(subject: Subject) -> Report:
    """Ask every rule."""
    defects = [
        Defect(name, rule, found) for name, rule in RULES.items() for found in rule.check(subject)
    ]
    order = {severity: rank for rank, severity in enumerate(SEVERITIES)}
    return Report(
        subject,
        tuple(sorted(defects, key=lambda each: (order[each.severity], -each.found.number))),
    )


def _counts(part: Part) -> dict[str, Any]:
    split = part.split
    names = split.label_space.names
    return {
        "source": str(split.source),
        "images": split.num_images,
        "objects": split.num_boxes,
        "classes": dict(zip(names, part.boxes_of_class.tolist(), strict=True)),
    }
