"""Rules of pictures that show the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from detbox.checking.places import MOST
from detbox.checking.rules import Found, Place, rule
from detbox.checking.subject import Picture, Subject
from detbox.messages import counted


@rule(
    "warning",
    "the detector has learnt these validation pictures by heart, so AP is too good",
    "take them out of one side, or divide anew with the likes on one side",
)
def alike_across_splits(subject: Subject) -> Iterator[Found]:
    """Nearly the same picture in training and in validation."""
    groups = [each for each in subject.alike if len({part.name for part, _ in each}) > 1]
    number = sum(part is subject.parts[-1] for each in groups for part, _ in each)
    if groups:
        what = f"{counted(number, 'picture')} of validation with a likeness in training"
        yield Found(what, number, "", _places(groups))


@rule(
    "note", "they count as often as they are there, so what they show is learnt more than the rest"
)
def alike_in_split(subject: Subject) -> Iterator[Found]:
    """Nearly the same picture several times in a split, such as frames of a video."""
    for part in subject.parts:
        own = [[each for each in group if each[0] is part] for group in subject.alike]
        groups = [each for each in own if len(each) > 1]
        number = sum(map(len, groups))
        if groups:
            most = max(map(len, groups))
            what = f"{counted(number, 'picture')} in {counted(len(groups), 'group')} of alike ones"
            yield Found(f"{what}, up to {most} in one", number, part.name, _places(groups))


def _places(groups: Sequence[Sequence[Picture]]) -> list[Place]:
    """The pictures of the first groups, each of which names the first of its group."""
    listed = [
        Place(part.name, at, note=f"like {_name(group[0])}" if rank else "")
        for group in groups
        for rank, (part, at) in enumerate(group)
    ]
    return listed[:MOST]


def _name(picture: Picture) -> str:
    part, at = picture
    return part.called(at)
